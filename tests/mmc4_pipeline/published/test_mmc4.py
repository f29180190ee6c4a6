"""MMC4's lines: the sentences and assignments as they are, in every compression that it is published in."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mmc4_pipeline.published.layout import PublishedDocument
from tests.mmc4_pipeline.published.published_rows import MMC4, PHOTO, PICTURE, URL, documents, places


def written(path: Path, content: bytes) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("docs_no_face_shard_0_v3.jsonl", content)
            archive.writestr("__MACOSX/._docs_no_face_shard_0_v3.jsonl", b"\0")
    else:
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "docs_no_face_shard_0_v3.jsonl.zip"])
def test_sentences_images_and_assignments_are_the_publishers(tmp_path: Path, name: str) -> None:
    content = b"".join(json.dumps(row).encode() + b"\n" for row in [MMC4, MMC4 | {"could_have_url_duplicate": 1}])
    first, second = documents(written(tmp_path / name, content))
    assert isinstance(first, PublishedDocument)
    assert isinstance(second, PublishedDocument)
    assert (first.url, first.sentences, first.could_have_url_duplicate) == (URL, ["One.", "Two.", "Three."], False)
    assert places(first) == [(PHOTO, None, 2), (PICTURE, None, 0)]
    assert [image.similarity for image in first.images] == [0.27694183588027954, 0.3234919607639313]
    assert second.could_have_url_duplicate


def changed(**image: Any) -> dict[str, Any]:
    return MMC4 | {"image_info": [MMC4["image_info"][0] | image]}


@pytest.mark.parametrize(
    "row",
    [
        changed(matched_text_index=3),
        changed(matched_text_index=-1),
        changed(matched_text_index=None),
        changed(matched_text_index=True),
        changed(matched_text_index="2"),
    ],
)
def test_an_image_without_a_valid_assignment_is_kept_without_one(tmp_path: Path, row: dict[str, Any]) -> None:
    (document,) = documents(written(tmp_path / "a.jsonl", json.dumps(row).encode()))
    assert places(document) == [(PHOTO, None, None)]


@pytest.mark.parametrize("similarity", ["0.3", None, 7, [0.1]])
def test_what_is_not_a_similarity_is_none(tmp_path: Path, similarity: Any) -> None:
    content = json.dumps(changed(matched_sim=similarity)).encode()
    (document,) = documents(written(tmp_path / "a.jsonl", content))
    assert isinstance(document, PublishedDocument)
    assert [(image.sentence, image.similarity) for image in document.images] == [(2, None)]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'"\\ud800',
        json.dumps(MMC4 | {"url": None}).encode(),
        json.dumps(MMC4 | {"text_list": "One."}).encode(),
        json.dumps(MMC4 | {"text_list": ["One.", 2]}).encode(),
        json.dumps(MMC4 | {"text_list": ["a" * 100_001]}).encode(),
        json.dumps(MMC4 | {"image_info": [None]}).encode(),
        json.dumps(changed(raw_url=None)).encode(),
        json.dumps({name: value for name, value in MMC4.items() if name != "image_info"}).encode(),
        b'{"a":' * 100_000,
    ],
)
def test_a_malformed_line_costs_itself_only(tmp_path: Path, line: bytes) -> None:
    content = json.dumps(MMC4).encode()
    found = documents(written(tmp_path / "a.jsonl", b"\n".join([line, content, b""])))
    assert [isinstance(document, str) for document in found] == [True, False]


def test_lone_surrogates_in_sentences_become_replacement_characters(tmp_path: Path) -> None:
    line = json.dumps(MMC4 | {"text_list": ["a \ud800 b"]}).encode()
    (document,) = documents(written(tmp_path / "a.jsonl", line))
    assert isinstance(document, PublishedDocument)
    assert document.sentences == ["a \ufffd b"]


@pytest.mark.parametrize(
    ("change", "after"), [({}, 2), ({"matched_text_index": 1}, None), ({"follows_sentence": 1}, None)]
)
def test_an_image_after_the_last_sentence_stays_there(
    tmp_path: Path, change: dict[str, Any], after: int | None
) -> None:
    line = json.dumps(changed(**({"follows_sentence": True} | change))).encode()
    ((_, place, _),) = places(documents(written(tmp_path / "a.jsonl", line))[0])
    assert place == after


def test_only_the_first_rows_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", json.dumps(MMC4).encode() + b"\nnonsense\n")
    assert len(documents(path, 1)) == 1
