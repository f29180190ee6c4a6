"""Formats of sequences hold the same texts and images in the same order, and their index files list the shards."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as Picture

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.formats.base import FinishedShard
from mmc4_pipeline.formats.mds import Mds
from mmc4_pipeline.formats.parquet import Parquet
from mmc4_pipeline.formats.sequence import SequenceFormat
from mmc4_pipeline.sequence import sequence_of
from schemas.manifest import WrittenFile
from tests.mmc4_pipeline.formats.pictures import jpeg


def expected(document: CutDocument) -> list[str | bytes]:
    """Return a document's texts and the bytes of its images in order."""
    return [part if isinstance(part, str) else jpeg(document.placed[part].image) for part in sequence_of(document)]


@pytest.mark.parametrize("item", [Parquet(), Mds()])
@pytest.mark.parametrize("order", ["documents", "in_page_order"])
def test_texts_and_images_come_back_in_order(
    item: SequenceFormat, order: str, request: pytest.FixtureRequest, write: Callable, read: Callable
) -> None:
    kept = [document for document in request.getfixturevalue(order) if document.reason is None]
    for row, document in zip(read(item, write(item, kept)), kept, strict=True):
        images = iter(row["images"])
        assert [next(images) if text is None else text for text in row["texts"]] == expected(document)
        assert next(images, None) is None
        assert row["image_urls"] == [placed.image.url for placed in document.placed]


@pytest.mark.engines
def test_datasets_streams_parquet_with_images_decoded(
    in_page_order: list[CutDocument], write: Callable, tmp_path: Path
) -> None:
    from datasets import Image, List, Value, load_dataset

    path = write(Parquet(), in_page_order)
    files = {"data_files": str(path), "split": "train", "streaming": True, "cache_dir": str(tmp_path)}
    loaded = load_dataset("parquet", **files)
    assert loaded.features["texts"] == List(Value("string"))
    assert loaded.features["images"] == List(Image())
    for row, document in zip(loaded, in_page_order, strict=True):
        assert row["key"] == document.page.key
        for text, image, part in zip(row["texts"], row["images"], expected(document), strict=True):
            if isinstance(part, str):
                assert (text, image) == (part, None)
            else:
                assert text is None
                assert np.array_equal(np.asarray(image), np.asarray(Picture.open(io.BytesIO(part))))


def test_row_groups_are_small_and_listed(in_page_order: list[CutDocument], write: Callable, tmp_path: Path) -> None:
    path = write(Parquet(), in_page_order * 25)
    assert [pq.ParquetFile(path).metadata.row_group(at).num_rows for at in range(3)] == [32, 32, 11]
    shard = FinishedShard(WrittenFile("parquet/shard-00007.parquet", 0, ""), 75)
    ((name, content),) = Parquet().index_files(str(tmp_path / "dataset"), [shard])
    assert name == "parquet/row_groups.json"
    assert json.load(content) == {"parquet/shard-00007.parquet": {"num_row_groups": 3}}


def test_mds_lists_the_shards_that_have_documents() -> None:
    shards = [
        FinishedShard(WrittenFile(f"mds/{number // 10_000}/shard-{number:05d}.mds", 70 + number, ""), number % 2)
        for number in (0, 1, 10_001)
    ]
    ((name, content),) = Mds().index_files("", shards)
    listed = json.load(content)
    assert (name, listed["version"]) == ("mds/index.json", 2)
    assert [
        (shard["raw_data"]["basename"], shard["raw_data"]["bytes"], shard["samples"]) for shard in listed["shards"]
    ] == [
        ("0/shard-00001.mds", 71, 1),
        ("1/shard-10001.mds", 10_071, 1),
    ]
