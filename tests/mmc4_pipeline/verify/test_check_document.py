"""MMC4's document: the published schema, and what it can't express."""

import copy
import json
import re
from importlib.resources import files
from typing import Any

import jsonschema
import msgspec
import pytest

from mmc4_pipeline.verify.check_document import problem_of
from schemas.mmc4_document import EmbeddedImage, ImageInfo, Mmc4Document, json_schema

PUBLISHED = json.loads((files("schemas") / "mmc4_document.schema.json").read_text())
GOOD: dict[str, Any] = {
    "url": "https://a.example/",
    "text_list": ["One.", "Two."],
    "image_info": [
        {
            "image_name": "a.jpg",
            "raw_url": "https://a.example/a.jpg",
            "matched_text_index": 1,
            "matched_sim": 0.5,
            "face_detections": None,
            "image_base64": "",
        }
    ],
    "similarity_matrix": [[0, 0.5]],
    "could_have_url_duplicate": 0,
}
WRONG: list[Any] = [None, True, -1, 2, "text", [], [None], {}, [[]], [["0.5", 0.5]], [[0.5, 7]], [{}], [3]]


def is_valid(document: Any) -> bool:
    try:
        msgspec.convert(document, Mmc4Document[EmbeddedImage])
    except msgspec.ValidationError:
        return False
    return True


def test_the_published_schema_is_that_of_the_record() -> None:
    assert json_schema() == PUBLISHED


def test_whatever_the_published_schema_refuses_is_refused() -> None:
    published = jsonschema.Draft202012Validator(PUBLISHED)
    assert published.is_valid(GOOD)
    assert is_valid(GOOD)
    wrong = copy.deepcopy([*WRONG, {**GOOD, "more": 1}])
    for name in GOOD:
        wrong += [{key: value for key, value in GOOD.items() if key != name}]
        wrong += [{**GOOD, name: value} for value in WRONG]
    info = GOOD["image_info"][0]
    for name in ("more", *info):
        changed = [{**info, name: value} for value in WRONG] + [{key: info[key] for key in info if key != name}]
        wrong += [{**GOOD, "image_info": [item]} for item in changed]
    refused = [document for document in wrong if not published.is_valid(document)]
    assert len(refused) > 100
    assert [document for document in refused if is_valid(document)] == []


def test_only_embedded_images_must_have_their_bytes() -> None:
    linked = copy.deepcopy(GOOD)
    del linked["image_info"][0]["image_base64"]
    assert jsonschema.Draft202012Validator(PUBLISHED).is_valid(linked)
    assert msgspec.convert(linked, Mmc4Document[ImageInfo]).url == GOOD["url"]
    with pytest.raises(msgspec.ValidationError, match="image_base64"):
        msgspec.convert(linked, Mmc4Document[EmbeddedImage])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, "None"),
        ({"similarity_matrix": [[0.5]]}, "1 images x 2 sentences"),
        ({"similarity_matrix": []}, "1 images x 2 sentences"),
        ({"similarity_matrix": [[0.5, 0]]}, "image 0 .*0.5.* 0.0 "),
        ({"text_list": ["One."], "similarity_matrix": [[0.5]]}, "image 0 .* sentence 1 of 1"),
    ],
)
def test_parts_of_a_document_that_do_not_fit_each_other_are_found(change: dict[str, Any], why: str) -> None:
    document = msgspec.convert({**GOOD, **change}, Mmc4Document[EmbeddedImage])
    assert re.search(why, str(problem_of(document)))


def test_only_the_last_sentence_has_images_after_it() -> None:
    after = copy.deepcopy(GOOD)
    after["image_info"][0] |= {"follows_sentence": True}
    assert problem_of(msgspec.convert(after, Mmc4Document[EmbeddedImage])) is None
    after["text_list"].append("Three.")
    after["similarity_matrix"][0].append(0)
    assert "image 0" in str(problem_of(msgspec.convert(after, Mmc4Document[EmbeddedImage])))
