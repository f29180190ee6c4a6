"""What ai.txt, tdmrep.json and Content-Usage rules in robots.txt declare about a URL of their host."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.images.fetching.declaration_files import READERS, AiTxt, Tdmrep
from mmc4_pipeline.images.fetching.robots import Robots

HOST = "https://a.example"
NAMES = ("mine", "img2dataset")
SPAWNING = "# Spawning AI\nUser-Agent: *\nDisallow: *.txt\nDisallow: *.png\nAllow: *.jpg\nDisallow: /\n"


@pytest.mark.parametrize(
    ("text", "path", "declared"),
    [
        (SPAWNING, "/a.jpg", []),
        (SPAWNING, "/a.png", ["ai.txt: Disallow: *.png"]),
        (SPAWNING, "/a.webp", ["ai.txt: Disallow: /"]),
        ("User-Agent: *\nDisallow: *\n", "/a.jpg", ["ai.txt: Disallow: *"]),
        ("User-Agent: *\r\nDisallow: /art/ # mine\r\n", "/art/a.jpg", ["ai.txt: Disallow: /art/"]),
        ("User-Agent: GPTBot\nDisallow: /\n", "/a.jpg", []),
        ("User-Agent: img2dataset\nDisallow: /\n\nUser-Agent: *\nAllow: /\n", "/a.jpg", ["ai.txt: Disallow: /"]),
        ("User-Agent: *\nAllow: /\n", "/a.jpg", []),
        ("<!doctype html><title>Not found</title>Disallow: /", "/a.jpg", []),
        ("# ai.txt\nTraining: deny\n", "/a.jpg", []),
        ("", "/a.jpg", []),
    ],
)
def test_ai_txt(text: str, path: str, declared: list[str]) -> None:
    assert AiTxt.read(text.encode(), NAMES).declarations(HOST + path) == declared


def rule(location: object, value: object = 1, **more: object) -> dict[str, object]:
    return {"location": location, "tdm-reservation": value, **more}


@pytest.mark.parametrize(
    ("content", "path", "location"),
    [
        ([rule("/")], "/a.jpg", "/"),
        ([rule("/", "1", **{"tdm-policy": "https://a.example/p.json"})], "/a.jpg", "/"),
        ([rule("/b/*.jpg", 0), rule("/b/")], "/b/a.jpg", None),
        ([rule("/b/*.jpg", 0), rule("/b/")], "/b/a.png", "/b/"),
        ([rule("/b/"), rule("/b/*.jpg", 0)], "/b/a.jpg", "/b/"),  # the first in sequence is the most specific
        ([rule("/B/")], "/b/a.jpg", None),
        ([rule("*.jpg$")], "/b/a.jpg", "*.jpg$"),
        ([rule("/foo-%24")], "/foo-$.jpg", "/foo-%24"),
        ([rule("/"), rule("/", 0)], "/a.jpg", "/"),
        ([rule("/", 2)], "/a.jpg", None),
        ([rule("/", True)], "/a.jpg", None),
        ([rule("/", 1.0)], "/a.jpg", None),
        ([rule("/", [1])], "/a.jpg", None),
        ([{"tdm-reservation": 1}, "x", None, rule(7), rule("/a")], "/a.jpg", "/a"),
        (rule("/"), "/a.jpg", "/"),
        ({"rules": [rule("/")]}, "/a.jpg", None),
        ([], "/a.jpg", None),
    ],
)
def test_tdmrep_json(content: Any, path: str, location: str | None) -> None:
    declared = [] if location is None else [f"tdmrep.json: 1, location {location}"]
    for body in (json.dumps(content).encode(), b"\xef\xbb\xbf" + json.dumps(content, indent=1).encode()):
        assert Tdmrep.read(body, NAMES).declarations(HOST + path) == declared


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[" * 100_000, b'[{"location": "/", "tdm-reservation": 1}', b"\xff\xfe[\0"]
)
def test_what_is_no_json_declares_nothing(body: bytes) -> None:
    assert Tdmrep.read(body, NAMES).declarations(f"{HOST}/a.jpg") == []


USAGE = "User-Agent: *\nAllow: /\nDisallow: /never/\nContent-Usage: / train-ai=n\nContent-Usage: /ai-ok/ train-ai=y\n"


@pytest.mark.parametrize(
    ("text", "path", "statements"),
    [
        (USAGE, "/test", ["train-ai=n"]),
        (USAGE, "/ai-ok/test", ["train-ai=y"]),
        (USAGE + "\nUser-Agent: Mine\nContent-Usage: / train-ai=y\n", "/test", ["train-ai=y"]),
        ("User-agent: *\ncontent-usage :\t/a\ttrain-ai=n, search=y # why\n", "/a.jpg", ["train-ai=n, search=y"]),
        (
            "User-agent: *\nContent-Usage: /a train-ai=n\nContent-Usage: /a train-ai=y\n",
            "/a",
            ["train-ai=n", "train-ai=y"],
        ),
        ("User-agent: *\nContent-Usage: train-ai=n\n", "/a", ["train-ai=n"]),
        ("User-agent: *\nContent-Usage: /*.jpg$ train-ai=n\n", "/b/a.jpg", ["train-ai=n"]),
        ("User-agent: *\nContent-Usage: /a train-ai=n\n", "/b", []),
        ("User-agent: other\nContent-Usage: / train-ai=n\n", "/b", []),
        ("Content-Usage: / train-ai=n\n", "/b", []),
    ],
)
def test_content_usage_in_robots_txt(text: str, path: str, statements: list[str]) -> None:
    found = Robots.read(text.encode(), NAMES)
    assert found.declarations(HOST + path) == [f"robots.txt content-usage: {each}" for each in statements]


@pytest.mark.parametrize("path", READERS)
@given(st.binary(max_size=100) | st.text('[]{}":,01locationtdm-resv/*$', max_size=100).map(str.encode))
def test_any_bytes_can_be_read(path: str, body: bytes) -> None:
    assert isinstance(READERS[path](body, NAMES).declarations(f"{HOST}/a.jpg"), list)
