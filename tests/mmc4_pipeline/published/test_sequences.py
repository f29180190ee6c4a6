"""OBELICS, OmniCorpus and MINT-1T: texts are split into sentences, images keep their places between them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmc4_pipeline.published.files import layout_of
from mmc4_pipeline.published.layout import UNKNOWN, PublishedDocument
from tests.mmc4_pipeline.file_server import INPUTS
from tests.mmc4_pipeline.published.published_rows import (
    MINT1T,
    OBELICS,
    OMNICORPUS,
    PHOTO,
    PICTURE,
    URL,
    documents,
    parquet,
    places,
)

SENTENCES = ["First sentence.", "Second one.", "Third sentence here."]
BY_LAYOUT = {
    "obelics": (OBELICS, "a.parquet", datetime(2020, 5, 27, 1, 34, 45, tzinfo=UTC)),
    "omnicorpus": (OMNICORPUS, "CC-MAIN-2016-26/a.parquet", datetime(2016, 6, 27, tzinfo=UTC)),
    "mint1t": (MINT1T, "a.parquet", datetime(2018, 5, 28, tzinfo=UTC)),
}


@pytest.mark.parametrize("layout", BY_LAYOUT)
def test_texts_order_and_crawl_are_read(tmp_path: Path, layout: str) -> None:
    row, name, crawled = BY_LAYOUT[layout]
    path = parquet(tmp_path / name, row)
    assert layout_of(INPUTS, str(path)) == layout
    (document,) = documents(path)
    assert isinstance(document, PublishedDocument)
    assert (document.url, document.sentences, document.crawled) == (URL, SENTENCES, crawled)
    assert places(document) == [(PHOTO, -1, 0), (PICTURE, 1, 2)]


def test_obelics_says_more_of_an_image(tmp_path: Path) -> None:
    (document,) = documents(parquet(tmp_path / "a.parquet", OBELICS))
    assert isinstance(document, PublishedDocument)
    first, second = document.images
    assert (first.alt, first.width, first.height, first.similarity) == ("A photo", 320, 240, None)
    assert (second.alt, second.width, second.height) == ("", None, None)


def test_the_mark_of_a_next_article_is_not_text(tmp_path: Path) -> None:
    mark = "\n\nEND_OF_DOCUMENT_TOKEN_TO_BE_REPLACED\n\n"
    row = OBELICS | {"texts": [None, f"One.{mark}Two.", None, "END_OF_DOCUMENT_TOKEN_TO_BE_REPLACED"]}
    (document,) = documents(parquet(tmp_path / "a.parquet", row))
    assert isinstance(document, PublishedDocument)
    assert document.sentences == ["One.", "Two."]
    assert places(document) == [(PHOTO, -1, 0), (PICTURE, 1, 1)]


def test_images_at_the_end_belong_to_the_last_sentence_and_without_text_to_none(tmp_path: Path) -> None:
    end = MINT1T | {"images": [None, PHOTO, PICTURE], "texts": ["One. Two.", None, None]}
    none = MINT1T | {"images": [PHOTO, None], "texts": [None, None]}
    empty = MINT1T | {"images": [], "texts": []}
    at_end, without_text, without_anything = documents(parquet(tmp_path / "a.parquet", end, none, empty))
    assert places(at_end) == [(PHOTO, 1, 1), (PICTURE, 1, 1)]
    assert places(without_text) == [(PHOTO, -1, None)]
    assert places(without_anything) == []


@pytest.mark.parametrize(
    ("layout", "change"),
    [
        ("obelics", {"texts": [None, "One."]}),
        ("obelics", {"metadata": "[null]"}),
        ("obelics", {"metadata": "{}"}),
        ("obelics", {"metadata": "nonsense"}),
        ("obelics", {"metadata": None}),
        ("obelics", {"general_metadata": '{"warc_filename": "w"}'}),
        ("obelics", {"images": None}),
        ("omnicorpus", {"general_metadata": None}),
        ("omnicorpus", {"texts": None}),
        ("mint1t", {"url": ""}),
        ("mint1t", {"images": [PHOTO, PHOTO, None, None]}),
    ],
)
def test_a_malformed_row_costs_itself_only(tmp_path: Path, layout: str, change: dict[str, Any]) -> None:
    row, name, _ = BY_LAYOUT[layout]
    found = documents(parquet(tmp_path / name, row | change, row))
    assert [isinstance(document, str) for document in found] == [True, False]


def test_a_crawl_that_cannot_be_is_unknown(tmp_path: Path) -> None:
    rows = (MINT1T | {"cc_dump": crawl} for crawl in ("CC-MAIN-2018-99", "CC-MAIN-0000-01", "", None))
    found = documents(parquet(tmp_path / "a.parquet", *rows))
    assert [document.crawled for document in found if isinstance(document, PublishedDocument)] == [UNKNOWN] * 4


def large(kind: pa.DataType) -> pa.DataType:
    return pa.large_list(pa.large_string()) if pa.types.is_list(kind) else pa.large_string()


def test_large_types_and_several_row_groups_are_read(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([OBELICS] * 250)
    schema = pa.schema([pa.field(field.name, large(field.type)) for field in table.schema])
    path = tmp_path / "a.parquet"
    pq.write_table(table.cast(schema), path, row_group_size=120)
    found = documents(path)
    assert len(found) == 250
    assert all(places(document) == [(PHOTO, -1, 0), (PICTURE, 1, 2)] for document in found)
