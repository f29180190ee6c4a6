"""MMC4's jsonl: the published fields, in gzip and in zip as published."""

import gzip
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.mmc4_jsonl import Mmc4Jsonl, as_json
from schemas.columns import GENERATED_CAPTION

SCHEMA = json.loads((files("schemas") / "mmc4_document.schema.json").read_text())


@pytest.mark.parametrize("compression", ["gz", "zip"])
def test_what_was_written_comes_back(
    compression: str, documents: list[CutDocument], write: Callable, read: Callable
) -> None:
    item = Mmc4Jsonl(compression)  # type: ignore[arg-type]
    back = read(item, write(item, documents))
    assert back == [as_json(document) for document in documents if document.reason is None]
    for document in back:
        jsonschema.validate(document, SCHEMA)
    assert [info["matched_text_index"] for info in back[1]["image_info"]] == [0, 0, 1]
    assert back[1]["similarity_matrix"] == [[0.5, 0.1], [0.4, 0.123457], [0.3, 0.45]]
    faces = [[info["face_detections"] for info in document["image_info"]] for document in back]
    assert faces[1] == [None, [[1.0, 2.5, 30.0, 40.0, 0.97]], None]  # no detector, one face, no face
    assert [document["could_have_url_duplicate"] for document in back] == [0, 1, 0]


def test_an_image_after_the_last_sentence_says_so(
    in_page_order: list[CutDocument], write: Callable, read: Callable
) -> None:
    back = read(Mmc4Jsonl(), write(Mmc4Jsonl(), in_page_order))
    places = [
        [(info["matched_text_index"], info.get("follows_sentence")) for info in item["image_info"]] for item in back
    ]
    assert places == [[(2, None), (3, True)], [(0, None), (1, True), (1, True)], [(1, None), (1, None)]]
    for document in back:
        jsonschema.validate(document, SCHEMA)


def test_a_caption_that_a_model_wrote_is_published_if_there_is_one(
    documents: list[CutDocument], write: Callable, read: Callable
) -> None:
    kept = next(item for item in documents if len(item.placed) == 3)
    first, *others = kept.placed
    score = replace(first.score, values={**first.score.values, GENERATED_CAPTION: "a cat"})
    described = replace(kept, placed=[replace(first, score=score), *others])
    (back,) = read(Mmc4Jsonl(), write(Mmc4Jsonl(), [described]))
    assert [info.get("caption") for info in back["image_info"]] == ["a cat", None, None]
    assert ["caption" in info for info in back["image_info"]] == [True, False, False]
    jsonschema.validate(back, SCHEMA)


def test_the_matrix_can_be_left_out(documents: list[CutDocument], write: Callable, read: Callable) -> None:
    item = Mmc4Jsonl(similarity_matrix=False)
    with_matrix = read(Mmc4Jsonl(), write(Mmc4Jsonl(), documents))
    for document in with_matrix:
        del document["similarity_matrix"]
    back = read(item, write(item, documents))
    assert back == with_matrix
    assert [item.mmc4_document(document) for document in back] == [None] * 3


def test_the_usual_tools_read_it(documents: list[CutDocument], write: Callable, read: Callable) -> None:
    expected = read(Mmc4Jsonl(), write(Mmc4Jsonl(), documents))
    with gzip.open(write(Mmc4Jsonl(), documents), "rt", encoding="utf-8") as lines:
        assert [json.loads(line) for line in lines] == expected
    path = write(Mmc4Jsonl("zip"), documents)
    assert path.name == "shard-00007.jsonl.zip"
    with zipfile.ZipFile(path) as archive:  # as OpenFlamingo's converter does
        assert archive.testzip() is None
        assert archive.namelist() == ["shard-00007.jsonl"]
        with archive.open(archive.namelist()[0]) as lines:
            assert [json.loads(line) for line in lines] == expected


@pytest.mark.parametrize("line", ["{}", "[]", "7", '{"url": "https://a.example/", "image_info": [7], "text_list": []}'])
def test_lines_that_are_not_documents_are_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl.gz"
    path.write_bytes(gzip.compress(line.encode()))
    with path.open("rb") as stream, pytest.raises(UserError, match=r"lines\.jsonl\.gz"):
        list(Mmc4Jsonl().documents(stream, str(path)))
