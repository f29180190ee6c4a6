"""Values extracted from a WAT record's bytes are those that a parser finds in its JSON."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.commoncrawl.wat_json import container_offset, html_images
from mmc4_pipeline.pages.wat_links import WatImages, links_of_wat

PAGE = "https://a.example/"
texts = st.lists(
    st.sampled_from(
        [
            '"',
            "\\",
            "{",
            "}",
            "]",
            "}]",
            '"IMG@/src"',
            "MG@/src",
            '{"path":"IMG@/src"',
            ",",
            ":",
            "Links",
            "Base",
            "é",
            "a",
        ]
    ),
    max_size=6,
).map("".join)
urls = texts | st.sampled_from(
    ["https://b.example/a.jpg", "http://b.example:80/a?b=1&c", "https://b.example/?", "/a.jpg"]
)
paths = st.sampled_from(["IMG@/src", "IMG@/src", "A@/href", "IMG@/longdesc", "XIMG@/src"])
links = st.fixed_dictionaries({"path": paths, "url": urls}, optional={"alt": texts, "width": texts, "text": texts})
backwards = links.map(lambda link: dict(reversed(link.items())))
heads = st.fixed_dictionaries(
    {"Title": texts, "Metas": st.lists(st.dictionaries(texts, texts, max_size=2), max_size=2)}, optional={"Base": texts}
)
headers = st.dictionaries(st.sampled_from(["Server", "Links", "HTML-Metadata", "Container"]) | texts, texts, max_size=3)


def record(html: object, headers: object) -> dict[str, Any]:
    answer = {"Headers": headers, "HTML-Metadata": html, "Entity-Length": "1"}
    return {
        "Container": {"Filename": "f", "Compressed": True, "Offset": "479", "Gzip-Metadata": {"Deflate-Length": "9"}},
        "Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": answer, "Trailing-Slop-Length": "0"}},
    }


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@given(
    head=heads,
    found=st.lists(links | backwards, max_size=6),
    headers=headers,
    order=st.permutations(["Head", "Links"]),
)
def test_the_same_links_as_a_parser_finds(
    separators: tuple[str, str], head: object, found: list[object], headers: object, order: list[str]
) -> None:
    whole = {"Head": head, "Links": found}
    html = {name: whole[name] for name in order}
    data = b"HEADER" + json.dumps(record(html, headers), separators=separators).encode() + b"\r\n\r\n"
    offset, taken = container_offset(data, len(b"HEADER")), html_images(data, len(b"HEADER"))
    assert offset == "479"
    assert taken is not None
    assert links_of_wat(taken, PAGE) == links_of_wat(WatImages.of(html), PAGE)


@given(st.sampled_from(["Container", "Envelope"]), st.lists(links, max_size=3))
def test_any_order_of_the_two_parts(first: str, found: list[object]) -> None:
    whole = record({"Head": {}, "Links": found}, {})
    data = orjson.dumps({first: whole.pop(first), **whole})
    taken = html_images(data, 0)
    assert taken is not None
    assert container_offset(data, 0) == "479"
    assert links_of_wat(taken, PAGE) == links_of_wat(WatImages.of({"Links": found}), PAGE)


def test_only_the_links_list_is_looked_at() -> None:
    image = {"path": "IMG@/src", "url": "b.jpg"}
    html = {"Head": {"Metas": [image], "Link": [image]}, "Links": [{"path": "IMG@/src", "url": "a.jpg"}]}
    for whole in (html, dict(reversed(html.items()))):
        taken = html_images(orjson.dumps(record(whole, image)), 0)
        assert taken is not None
        assert [link.url for link in links_of_wat(taken, PAGE)] == [PAGE + "a.jpg"]


@given(st.integers(1, 400))
def test_json_that_is_cut_short_gives_an_error_or_nothing_made_up(size: int) -> None:
    data = orjson.dumps(
        record({"Head": {}, "Links": [{"path": "IMG@/src", "url": f"{at}.jpg"} for at in range(5)]}, {})
    )
    try:
        taken = html_images(data[:-size], 0)
    except ValueError:
        return
    urls = [link.url for link in links_of_wat(taken, PAGE)] if taken else []
    assert urls == [f"{PAGE}{at}.jpg" for at in range(len(urls))]
