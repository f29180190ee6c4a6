"""OBELICS' Parquet: one of image and text at each place, and each image before its sentence."""

import json
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.formats.obelics import Obelics


def test_what_was_written_comes_back(documents: list[CutDocument], write: Callable, read: Callable) -> None:
    rows = read(Obelics(), write(Obelics(), documents))
    kept = [document for document in documents if document.reason is None]
    for row, document in zip(rows, kept, strict=True):
        assert " ".join(filter(None, row["texts"])) == " ".join(document.page.sentences)
        assert len(row["images"]) == len(row["texts"]) == len(row["metadata"])
        for image, text, metadata in zip(row["images"], row["texts"], row["metadata"], strict=True):
            assert (image is None) == (text is not None) == (metadata is None)
        assert row["general_metadata"] == {"url": document.page.url, "key": document.page.key}
    assert sum(image is not None for row in rows for image in row["images"]) == sum(len(item.placed) for item in kept)


def test_images_precede_their_sentences(documents: list[CutDocument], write: Callable, read: Callable) -> None:
    rows = read(Obelics(), write(Obelics(), documents))
    first, shared, turned = (
        [image.removeprefix("https://a.example/") if image else text for image, text in zip(*both, strict=True)]
        for both in ((row["images"], row["texts"]) for row in rows)
    )
    assert first == ["0/1.jpg", 'Größe "zählt".', "0/0.jpg", "Two\nlines. 日本。 </script>\u2028."]
    assert shared == ["2/0.jpg", "2/1.jpg", 'Größe "zählt".', "2/2.jpg", "Two\nlines."]
    assert turned == ["3/1.jpg", 'Größe "zählt". Two\nlines.', "3/0.jpg", "日本。"]
    assert rows[0]["metadata"][0] == {
        "document_url": "https://a.example/0",
        "src": "https://a.example/0/1.jpg",
        "alt_text": "An alt.",
        "rendered_width": 320,
        "original_width": 300,
        "original_height": 200,
        "format": "PNG",
        "image_name": rows[0]["metadata"][0]["image_name"],
        "sha256": "01",
        "matched_sim": 0.3,
    }


def test_images_stand_where_the_page_has_them(
    in_page_order: list[CutDocument], write: Callable, read: Callable
) -> None:
    rows = read(Obelics(), write(Obelics(), in_page_order))
    assert [
        [image.removeprefix("https://a.example/") if image else text for image, text in zip(*both, strict=True)]
        for both in ((row["images"], row["texts"]) for row in rows)
    ] == [
        ['Größe "zählt". Two\nlines.', "0/0.jpg", "日本。 </script>\u2028.", "0/1.jpg"],
        ["2/0.jpg", 'Größe "zählt". Two\nlines.', "2/1.jpg", "2/2.jpg"],
        ['Größe "zählt".', "3/0.jpg", "3/1.jpg", "Two\nlines. 日本。"],
    ]


def test_the_columns_are_those_published(documents: list[CutDocument], write: Callable) -> None:
    table = pq.read_table(write(Obelics(), documents))
    texts = pa.list_(pa.string())
    assert {field.name: field.type for field in table.schema} == {
        "images": texts,
        "metadata": pa.string(),
        "general_metadata": pa.string(),
        "texts": texts,
    }
    assert json.loads(table["metadata"][0].as_py())[1] is None
