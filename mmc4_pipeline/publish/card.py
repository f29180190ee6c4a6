"""Writes a dataset's card: README.md, with the front matter that tells Hugging Face how to load the dataset's files."""

from collections.abc import Sequence
from typing import Any

import yaml

from filters.base import DeclarationFilter, PageFilter
from mmc4_pipeline import storage
from mmc4_pipeline.assignment import Assignment, as_mapping
from mmc4_pipeline.plug_ins import known_filters
from mmc4_pipeline.publish.contents import (
    CRAWL_TERMS,
    DOCUMENT_FIELDS,
    PAPER,
    SOURCE_LICENSE,
    FileGroup,
    file_groups,
    has_c4_texts,
    has_mmc4_documents,
    ledger_fields,
)
from mmc4_pipeline.stage_folder import StageFolder
from schemas.columns import SIMILARITY, Shape
from schemas.manifest import CutPlan, Manifest
from schemas.reasons import Stage

_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")

_LEDGER = """One row for each image link of each page, whether its image was kept or dropped. It answers why an image is
missing, and where a kept image came from."""

_LIMITATIONS = """- Texts and images come from the open web. Filters reduce offensive, private, advertising and
  duplicate content, but do not remove all of it. Their thresholds are in the recipe; their scores are estimates.
- {placement}
- Texts, filters and models favour English. Other languages, and the regions that use them, are underrepresented.
- Images were fetched later than Common Crawl captured their pages. Some may have changed in between."""

_PLACED = {
    "page": "which are in the order of the page; otherwise it follows",
    "published": "assigned to sentences as its publisher had assigned them; otherwise it follows",
}

_PERSONAL = """The data may contain names and other personal information, and images may show people, also where no face
was detected. To remove a page, a host or an image from all files, add it to a deny-list and run `mmc4 takedown`;
`manifest.json` lists each takedown."""

_C4_LICENCE = f"""The texts come from C4, which is published under [ODC-BY 1.0]({SOURCE_LICENSE}).
Their use is also subject to [Common Crawl's terms of use]({CRAWL_TERMS})."""

_PAGE_LICENCE = f"""The texts come from web pages in Common Crawl. They remain the property of their respective owners,
and their use is subject to [Common Crawl's terms of use]({CRAWL_TERMS})."""

_PUBLISHED_LICENCE = """The texts come from a published dataset, whose licence applies to them. They were taken from web
pages, and remain the property of their respective owners."""

_IMAGE_LICENCE = """Images remain the property of their respective owners and are subject to their own terms, which have
not been reviewed. The source URL of each image is included."""

_CITATION = """The dataset follows the method of MMC4:

```bibtex
@inproceedings{zhu2023multimodal,
  title = {Multimodal {C4}: An Open, Billion-scale Corpus of Images Interleaved with Text},
  author = {Zhu, Wanrong and Hessel, Jack and Awadalla, Anas and Gadre, Samir Yitzhak and Dodge, Jesse and Fang, Alex
    and Yu, Youngjae and Schmidt, Ludwig and Wang, William Yang and Choi, Yejin},
  booktitle = {Advances in Neural Information Processing Systems: Datasets and Benchmarks Track},
  year = {2023},
}
```"""


def write_card(folder: StageFolder, name: str) -> str:
    """Write the card of a finished dataset and return its path. The same dataset gives the same card."""
    path = folder.file("README.md")
    storage.write_bytes(path, card(folder.manifest(CutPlan), name).encode())
    return path


def card(manifest: Manifest[CutPlan], name: str) -> str:
    """Return the card of a dataset."""
    groups = file_groups(manifest)
    front = yaml.safe_dump(_front_matter(manifest, name, groups), sort_keys=False, allow_unicode=True)
    sections = [
        (f"# {name}", _summary(manifest)),
        ("## Dataset structure", ""),
        ("### Files", _files(name, groups)),
        *([("### Fields of a document", _document())] if has_mmc4_documents(manifest) else []),
        ("### Fields of the ledger", f"{_LEDGER}\n\n{_field_table(ledger_fields(manifest))}"),
        ("## Dataset creation", ""),
        ("### Source data", _source(manifest)),
        ("### Processing", _processing(manifest)),
        ("### What was dropped", _table(("stage", "what", "in", "kept", "dropped, by reason"), _count_rows(manifest))),
        ("## Considerations for using the data", ""),
        ("### Biases and limitations", _limitations(manifest)),
        ("### Personal and sensitive information", _PERSONAL),
        ("## Licence", _licence(manifest)),
        ("## Citation", _CITATION),
    ]
    body = "\n\n".join(part for section in sections for part in section if part)
    return f"---\n{front}---\n\n{body}\n"


def _front_matter(manifest: Manifest[CutPlan], name: str, groups: list[FileGroup]) -> dict[str, Any]:
    documents = manifest.counts["documents"].kept
    bounds = [10 ** (3 + power) for power in range(len(_SIZES))]
    size = next((at for at, bound in enumerate(bounds) if documents < bound), len(_SIZES))
    extreme = f"n<{_SIZES[0]}" if size == 0 else f"n>{_SIZES[-1]}" if size == len(_SIZES) else None
    return {
        "pretty_name": name,
        "license": "odc-by" if has_c4_texts(manifest) else "other",
        "language": ["en"],
        "task_categories": ["image-text-to-text"],
        "tags": ["interleaved", *(["webdataset"] if any(group.loader == "webdataset" for group in groups) else [])],
        "size_categories": [extreme or f"{_SIZES[size - 1]}<n<{_SIZES[size]}"],
        "configs": [
            {"config_name": group.name, "data_files": [{"split": "train", "path": group.pattern}]}
            | ({"default": True} if number == 0 else {})
            for number, group in enumerate(_configurations(groups))
        ],
    }


def _configurations(groups: list[FileGroup]) -> list[FileGroup]:
    """Return the groups that become configurations, the default first.

    To load one configuration, `datasets` chooses one builder for the whole repository, so all must have the same.
    Documents in Parquet are preferred to other shards, because the hub can show them.
    """
    documents = [group for group in groups if group.loader and not group.is_ledger]
    parquet = [group for group in documents if group.loader == "parquet"]
    chosen = (parquet or documents or groups)[:1]
    same = [group for group in groups if chosen and group.loader == chosen[0].loader]
    return sorted(same, key=lambda group: group.is_ledger)


def _summary(manifest: Manifest[CutPlan]) -> str:
    documents, links = manifest.counts["documents"], manifest.counts["links"]
    assignment = _assignment(manifest)
    placed = _PLACED.get(assignment.method, f"assigned to sentences by {_scores(assignment)}, as in")
    return (
        f"An interleaved image-text dataset: {documents.kept:,} documents with {links.kept:,} images. A document has "
        "the sentences of a web page and images of the same page, "
        f"{placed} [Multimodal C4]({PAPER}) (MMC4). It is meant for training and studying models that read images and "
        "text together. A ledger says for each image link of each page why it was kept or dropped."
    )


def _assignment(manifest: Manifest[CutPlan]) -> Assignment:
    return Assignment(**as_mapping(manifest.plan.recipe["assignment"]))


def _scores(assignment: Assignment) -> str:
    """Return what the assignment maximises."""
    by_similarity = list(assignment.by) == [SIMILARITY]
    return "CLIP's similarity" if by_similarity else f"the scores {' and '.join(f'`{name}`' for name in assignment.by)}"


def _limitations(manifest: Manifest[CutPlan]) -> str:
    assignment = _assignment(manifest)
    described = "An assignment does not mean that the sentence describes the image."
    match assignment.method:
        case "page":
            placement = "Images are in the order of the page. An image need not belong to the sentence that follows it."
        case "published":
            placement = f"Images are assigned to sentences as their publisher had assigned them. {described}"
        case _ if assignment.window is not None:
            near = f"at most {assignment.window} sentences away from their place on the page"
            placement = f"Images are assigned to sentences by {_scores(assignment)}, {near}. {described}"
        case _:
            far = "not by their place on the page"
            placement = f"Images are assigned to sentences by {_scores(assignment)}, {far}. {described}"
    return _LIMITATIONS.format(placement=placement) + _outdated_scores(manifest)


def _outdated_scores(manifest: Manifest[CutPlan]) -> str:
    """Return the item on scores of whole documents that a takedown has left as they were; empty if there are none."""
    names = [f"`{item.name}`" for item in manifest.plan.input.all_columns if item.shape is Shape.DOCUMENT]
    if not names or not any(takedown.images for takedown in manifest.takedowns):
        return ""
    return (
        f"\n- The ledger's {' and '.join(names)} were computed before images were taken down. For a document that has "
        "lost images, they still count these."
    )


def _files(name: str, groups: list[FileGroup]) -> str:
    table = _table(("configuration", "files", "number", "bytes"), [_file_row(group) for group in groups])
    return (
        f"{table}\n\nThere is one split, `train`. To load the data with Hugging Face `datasets`, put the repository's "
        f"owner in place of `…`:\n\n```python\n{_loading(name, groups)}\n```\n\n"
        f"{_braces(groups)}"
        "`manifest.json` has the SHA-256 of each file; `mmc4 verify` checks the files, the ledger and all counts."
    )


def _braces(groups: list[FileGroup]) -> str:
    """Return the paragraph with a pattern for each format's shards; empty if there are none."""
    patterns = "\n".join(group.braces for group in groups if group.braces)
    if not patterns:
        return ""
    return f"Readers that expand braces, such as webdataset, take these patterns:\n\n```text\n{patterns}\n```\n\n"


def _loading(name: str, groups: list[FileGroup]) -> str:
    """Return the lines of Python that load each group."""
    lines = ["from datasets import load_dataset", ""]
    configurations = _configurations(groups)
    for group in groups:
        if group.loader is None:
            continue
        files = f'data_files="hf://datasets/…/{name}/{group.pattern}"'
        where = f'"…/{name}", "{group.name}"' if group in configurations else f'"{group.loader}", {files}'
        lines.append(f'{group.name.replace("-", "_")} = load_dataset({where}, split="train")')
    return "\n".join(lines)


def _document() -> str:
    return f"Documents are in MMC4's form, with one JSON object per document.\n\n{_field_table(DOCUMENT_FIELDS)}"


def _source(manifest: Manifest[CutPlan]) -> str:
    crawl = manifest.plan.recipe["crawl"]
    if manifest.plan.input.published is not None:
        return (
            f"Texts and image links come from a published dataset (in the layout of {manifest.plan.input.published}), "
            "images from the web."
        )
    if not has_c4_texts(manifest):
        return f"Texts and image links come from web pages in Common Crawl ({crawl}), images from the web."
    return (
        "Texts come from C4 (`allenai/c4`), which is derived from Common Crawl. Image links come from the same pages "
        f"in Common Crawl ({crawl}), images from the web."
    )


def _processing(manifest: Manifest[CutPlan]) -> str:
    recipe = yaml.safe_dump(manifest.plan.recipe, sort_keys=False, allow_unicode=True)
    versions = ", ".join(f"{package} {version}" for package, version in manifest.versions.items())
    return (
        "mmc4-pipeline filtered the pages and links, fetched the images, filtered them, computed CLIP's similarity of "
        "each image to each sentence, and assigned images to sentences. No person annotated or reviewed the data. This "
        f"recipe has all filters, in order, with their thresholds:\n\n```yaml\n{recipe}```\n\nVersions: {versions}."
    )


def _licence(manifest: Manifest[CutPlan]) -> str:
    texts = _C4_LICENCE if has_c4_texts(manifest) else _PAGE_LICENCE
    if manifest.plan.input.published is not None:
        texts = _PUBLISHED_LICENCE
    consent = manifest.plan.recipe["filters"].get("consent") or {}
    directives = [word for name, words in consent.items() if name.endswith("directives") for word in words or ()]
    words = ", ".join(f"`{word}`" for word in directives)
    opted_out = (
        f"Images whose server sent one of the directives {words} in an `X-Robots-Tag` were left out; the ledger lists "
        "them with the reason `opted_out`."
    )
    return "\n\n".join([texts, _IMAGE_LICENCE, *([opted_out] if words else []), *_heeded(manifest)])


def _heeded(manifest: Manifest[CutPlan]) -> list[str]:
    """Return a paragraph on the filters of declarations other than X-Robots-Tag, none if there are none."""
    of_declarations = [key for key, item in known_filters().items() if issubclass(item, PageFilter | DeclarationFilter)]
    on = [f"`{key}`" for key in manifest.plan.recipe["filters"] if key in of_declarations and key != "consent"]
    text = (
        f"What pages, servers and files of hosts declare about the use of their content was heeded by the filters "
        f"{', '.join(on)}; the column `declaration` of the ledger quotes it."
    )
    return [text] if on else []


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


def _field_table(fields: dict[str, str]) -> str:
    return _table(("field", "meaning"), [(f"`{name}`", text) for name, text in fields.items()])


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
