"""`mmc4 takedown` of a dataset alone, in any format, and of documents without images."""

import json
import shutil
from pathlib import Path

import pytest
import webdataset

from mmc4_pipeline.formats.registry import known_formats
from mmc4_pipeline.training import ShardedDocuments
from tests.end_to_end.running import contents, mmc4, succeeded
from tests.end_to_end.takedown.outputs import (
    ALL,
    Removals,
    cut,
    documents,
    everything_in,
    in_mmc4_form,
    manifest,
    notes,
    rows,
    takedown,
    verified,
)


def test_a_dataset_alone_becomes_what_it_becomes_in_its_output(
    alone: Path, after: Path, removals: Removals, tmp_path: Path
) -> None:
    folder = shutil.copytree(alone, tmp_path / "all")
    takedown(folder, removals.path)
    verified(folder)
    whole = after / "dataset/all"
    for pattern in ("**/*.tar", "ledger/*.parquet", "**/*.gz", "**/sizes.json"):
        assert contents(folder, pattern) == contents(whole, pattern)
    for here, there in zip(notes(folder), notes(whole), strict=True):
        new, old = here["statistics"], there["statistics"]
        for group in (*new["duplicates"], *old["duplicates"]):  # the places of examples have moved in the images stage
            assert group.pop("url")
            del group["offset"], group["length"]
        assert new == old


@pytest.mark.parametrize("name", [name for name in ALL if name != "openflamingo"])
def test_a_dataset_of_one_format(before: Path, removals: Removals, name: str, tmp_path: Path) -> None:
    output = shutil.copytree(before, tmp_path / "out")
    (tmp_path / "one.yaml").write_text("extends: mmc4\n")
    cut(output, tmp_path / "one.yaml", "--formats", name)
    folder = shutil.move(output / "dataset/one", tmp_path / "one")
    shutil.rmtree(output)
    takedown(folder, removals.path)
    verified(folder)
    assert len(documents(folder, name)) == manifest(folder)["counts"]["documents"]["kept"]
    assert not any(removals.site.encode() in data for data in everything_in(folder))
    succeeded(mmc4("report", str(folder)))


@pytest.mark.parametrize("name", ["openflamingo", "obelics"])  # with and without the number of sentences
def test_documents_without_images_are_removed_too(before: Path, removals: Removals, name: str, tmp_path: Path) -> None:
    output = shutil.copytree(before, tmp_path / "out")
    best = [row["best_similarity"] for row in rows(output / "dataset/all") if row["reason"] is None]
    least = f"{sorted(best)[len(best) * 3 // 4]:.4f}"  # so that some documents have images and others have none
    for recipe in ("texts", "again"):
        filters = f"{{document: {{min_images: 0}}, similarity: {{min: {least}}}}}"
        (tmp_path / f"{recipe}.yaml").write_text(f"extends: mmc4\nfilters: {filters}\n")
    cut(output, tmp_path / "texts.yaml", "--formats", name)
    folder = output / "dataset/texts"
    old = views(folder, name)
    assert any(not images and removals.page(url) for url, images in old)
    assert any(images for _, images in old)
    takedown(output, removals.path)
    verified(folder)
    remaining = views(folder, name)
    assert [url for url, _ in remaining] == [url for url, _ in old if not removals.page(url)]
    cut(output, tmp_path / "again.yaml", "--formats", name)
    assert views(output / "dataset/again", name) == remaining
    for here, there in zip(notes(folder), notes(output / "dataset/again"), strict=True):
        new, expected = here["statistics"], there["statistics"]
        for figure in ("images", "sites", "stored_bytes", "duplicates"):
            assert new[figure] == expected[figure]
        assert new.get("sentences") == (expected["sentences"] if name == "openflamingo" else None)
    succeeded(mmc4("report", str(folder)))


def views(folder: Path, name: str) -> list[tuple[str, int]]:
    """Return the URL of each document and how many images it has."""
    item = known_formats()[name]()
    return [(view.url, len(view.image_urls)) for view in map(item.view, documents(folder, name))]


def test_an_emptied_shard_is_read_as_one_without_documents(alone: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(alone, tmp_path / "all")
    first = {row["page_url"] for row in rows(folder) if row["shard"] == "shard-00000.tar"}
    remaining = [item["url"] for item in in_mmc4_form(folder, "openflamingo") if item["url"] not in first]
    (tmp_path / "list.txt").write_text("\n".join(first))
    takedown(folder, tmp_path / "list.txt")
    assert json.loads((folder / "sizes.json").read_text())["shard-00000.tar"] == 0
    verified(folder)
    assert [sample["json"]["url"] for sample in ShardedDocuments(str(folder))] == remaining
    shards = [str(path) for path in sorted(folder.glob("shard-*.tar"))]
    plain = webdataset.WebDataset(shards, shardshuffle=False).decode()
    assert [sample["json"]["url"] for sample in plain] == remaining
    for name in ALL:
        assert len(documents(folder, name)) == len(remaining)
