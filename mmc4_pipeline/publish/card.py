"""Writes a dataset's card: README.md with the front matter by which Hugging Face loads its files."""

from collections.abc import Sequence
from typing import Any

import yaml

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.files import files_of
from mmc4_pipeline.publish.contents import (
    DOCUMENT_FIELDS,
    LEDGER_FIELDS,
    PAPER,
    SOURCE_LICENSE,
    FileGroup,
    file_groups,
)
from mmc4_pipeline.stage_folder import StageFolder
from schemas.manifest import CutPlan, Manifest
from schemas.reasons import Stage

_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")


def write_card(folder: StageFolder, name: str) -> str:
    """Write the card of a finished dataset and give its path. The same dataset gives the same card."""
    path = folder.file("README.md")
    storage.write_bytes(path, card(folder.manifest(CutPlan), name).encode())
    return path


def card(manifest: Manifest[CutPlan], name: str) -> str:
    """Give the card of the dataset that a manifest describes."""
    groups = file_groups(files_of(manifest))
    front = yaml.safe_dump(_front_matter(manifest, name, groups), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{front}---",
        f"# {name}",
        _introduction(manifest),
        "## Files",
        _table(("name", "files", "number", "bytes"), [_file_row(group) for group in groups]),
        f"```python\n{_loading(name, groups)}\n```",
        "`manifest.json` has each file's sha256; `mmc4 verify` checks all of it.",
        "## A document",
        _table(("field", "what it is"), [(f"`{field}`", text) for field, text in DOCUMENT_FIELDS.items()]),
        "## The ledger",
        "One row for every image link of every page, kept or not.",
        _table(("field", "what it is"), [(f"`{field}`", text) for field, text in LEDGER_FIELDS.items()]),
        "## What was dropped, and why",
        _table(("stage", "what", "in", "kept", "dropped"), _count_rows(manifest)),
        "## Recipe",
        f"```yaml\n{yaml.safe_dump(manifest.plan.recipe, sort_keys=False, allow_unicode=True)}```",
        f"Made with {', '.join(f'{package} {version}' for package, version in manifest.versions.items())}.",
        "## Licence",
        _LICENCE,
    ]
    return "\n\n".join(parts) + "\n"


_BUILDERS = {"tar": "webdataset", "parquet": "parquet"}  # all other files are JSON lines

_LICENCE = f"""The texts and their selection come from C4, which is published under [ODC-BY]({SOURCE_LICENSE}); use is
also bound by [Common Crawl's terms](https://commoncrawl.org/terms-of-use). The images belong to whoever made them and
are under their own terms, which nobody has looked up: each one's URL is beside it. Images whose server refused use for
AI (`X-Robots-Tag: noai`, `noimageai`) were left out; the ledger names them."""


def _front_matter(manifest: Manifest[CutPlan], name: str, groups: list[FileGroup]) -> dict[str, Any]:
    documents = manifest.counts["documents"].kept
    bounds = [10 ** (3 + power) for power in range(len(_SIZES))]
    size = next((at for at, bound in enumerate(bounds) if documents < bound), len(_SIZES))
    below = f"n<{_SIZES[0]}" if size == 0 else f"n>{_SIZES[-1]}" if size == len(_SIZES) else None
    return {
        "pretty_name": name,
        "license": "odc-by",
        "language": ["en"],
        "task_categories": ["image-text-to-text"],
        "tags": ["interleaved", "webdataset"],
        "size_categories": [below or f"{_SIZES[size - 1]}<n<{_SIZES[size]}"],
        "configs": [
            {"config_name": group.name, "data_files": [{"split": "train", "path": group.pattern}]}
            | ({"default": True} if number == 0 else {})
            for number, group in enumerate(_configurations(groups))
        ],
    }


def _builder(group: FileGroup) -> str:
    return _BUILDERS.get(group.pattern.rpartition(".")[2], "json")


def _configurations(groups: list[FileGroup]) -> list[FileGroup]:
    """Give what can be loaded by name. The library reads all of a repository as the first is read, so one format it is.

    Documents as Parquet are preferred to shards: people can look at them on the hub.
    """
    parquet = [group for group in groups if _builder(group) == "parquet" and group.name != "ledger"]
    builder = _builder((parquet or groups)[0])
    same = [group for group in groups if _builder(group) == builder]
    return sorted(same, key=lambda group: group.name == "ledger")


def _loading(name: str, groups: list[FileGroup]) -> str:
    """Give the lines of Python that load each group."""
    lines = ["from datasets import load_dataset", ""]
    named = _configurations(groups)
    for group in groups:
        files = f'data_files="hf://datasets/…/{name}/{group.pattern}"'
        where = f'"…/{name}", "{group.name}"' if group in named else f'"{_builder(group)}", {files}'
        lines.append(f'{group.name.replace("-", "_")} = load_dataset({where}, split="train")')
    return "\n".join(lines)


def _introduction(manifest: Manifest[CutPlan]) -> str:
    documents, links = manifest.counts["documents"], manifest.counts["links"]
    return (
        f"{documents.kept:,} documents with {links.kept:,} images, interleaved: texts of C4 with the images of "
        f"their pages in Common Crawl ({manifest.plan.recipe['crawl']}), filtered, scored with CLIP and assigned to "
        f"sentences as [MMC4]({PAPER}) does it, by mmc4-pipeline."
    )


def _file_row(group: FileGroup) -> tuple[str, ...]:
    size = sum(file.bytes for file in group.files)
    return f"`{group.name}`", f"`{group.pattern}`", f"{len(group.files):,}", f"{size:,}"


def _count_rows(manifest: Manifest[CutPlan]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for stage, parts in {**manifest.plan.before, Stage.CUT: manifest.counts}.items():
        for what, count in parts.items():
            dropped = ", ".join(f"{reason} {number:,}" for reason, number in count.dropped.items())
            rows.append((stage, what, f"{count.seen:,}", f"{count.kept:,}", dropped or "none"))
    return rows


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
