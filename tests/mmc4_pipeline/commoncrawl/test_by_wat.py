"""Links from WAT files: the same as the page's own, and a broken record loses only itself."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from warcio.warcwriter import WARCWriter

from mmc4_pipeline.commoncrawl.by_range import pages_by_range
from mmc4_pipeline.commoncrawl.by_wat import pages_by_wat, wat_filename
from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.recipe import LinkSettings
from schemas.document import RejectedDocument
from schemas.reasons import Reason
from tests.mmc4_pipeline.file_server import INPUTS


def record_of(offset: int, html: object) -> dict[str, Any]:
    """Return a WAT record like those of Common Crawl, without the parts that are never read."""
    answer = {"Headers": {"Content-Type": "text/html"}, "HTML-Metadata": html}
    return {
        "Container": {"Filename": "CC-MAIN-1.warc.gz", "Compressed": True, "Offset": str(offset)},
        "Envelope": {"Format": "WARC", "Payload-Metadata": {"HTTP-Response-Metadata": answer}},
    }


def images(*links: dict[str, Any], **head: object) -> dict[str, Any]:
    return {"Head": head, "Links": [{"path": "A@/href", "url": "/"}, *({"path": "IMG@/src", **link} for link in links)]}


def write_wat(crawl: Any, contents: list[bytes | object], locations: list[Any] | None = None) -> Path:
    """Write the WAT file of a crawl: one metadata record per location, with the given JSON (or any bytes)."""
    locations = crawl.locations if locations is None else locations
    path = crawl.root / wat_filename(locations[0].warc_filename)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        writer = WARCWriter(out, gzip=True)
        writer.write_record(writer.create_warcinfo_record(path.name, {"isPartOf": "test"}))
        for location, content in zip(locations, contents, strict=True):
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            writer.write_record(writer.create_warc_record(location.url, "metadata", io.BytesIO(data), len(data)))
    return path


READER = PageReader(LinkSettings())


def read_all(crawl: Any) -> list[PageContent | RejectedDocument]:
    """Read all locations and return the outcomes in their order."""
    outcomes = list(pages_by_wat(INPUTS, str(crawl.root), crawl.locations[0].warc_filename, crawl.locations, READER))
    by_url = {item.location.url if isinstance(item, PageContent) else item.url: item for item in outcomes}
    assert len(outcomes) == len(by_url) == len(crawl.locations)
    return [by_url[location.url] for location in crawl.locations]


def urls(outcome: PageContent | RejectedDocument) -> list[str]:
    assert isinstance(outcome, PageContent), outcome
    return [link.url for link in outcome.links]


def test_the_wat_file_is_next_to_the_warc_file() -> None:
    warc = "crawl-data/CC-MAIN-2019-18/segments/1555/warc/CC-MAIN-2019-00000.warc.gz"
    assert wat_filename(warc) == "crawl-data/CC-MAIN-2019-18/segments/1555/wat/CC-MAIN-2019-00000.warc.wat.gz"


def test_wat_and_html_give_the_same_links(crawl: Any) -> None:
    page = b"""<html><head><base href="/base/"></head><body>
        <img src="a.jpg?x=1&amp;y=2" alt="Tom &amp; Ann" width="640" height="480px"><a href="/">home</a>
        <img src="//cdn.example/b.png"><img src="data:image/gif;base64,R0lGODlhAQAB"><img alt="none">
        <img src="c d.gif" alt="  two
        lines " width="50%"></body></html>"""
    location = crawl.write("https://a.example/x/y", page)
    resolved = images(
        {"url": "a.jpg?x=1&y=2", "alt": "Tom & Ann", "width": "640", "height": "480px"},
        {"url": "//cdn.example/b.png"},
        {"url": "data:image/gif;base64,R0lGODlhAQAB"},
        {"url": "c d.gif", "alt": "two\n lines", "width": "50%"},
        Base="/base/",
    )
    as_it_stands = json.loads(json.dumps(resolved).replace("&", "&amp;"))
    (by_html,) = pages_by_range(INPUTS, str(crawl.root), location.warc_filename, crawl.locations, READER)
    assert isinstance(by_html, PageContent)
    by_html = replace(by_html, around=None)  # WAT files do not have the text in which links have their places
    for html in (resolved, as_it_stands):
        write_wat(crawl, [record_of(location.offset, html)])
        assert read_all(crawl) == [by_html]
    assert urls(by_html) == [
        "https://a.example/base/a.jpg?x=1&y=2",
        "https://cdn.example/b.png",
        "https://a.example/base/c%20d.gif",
    ]


@pytest.mark.parametrize(
    ("in_wat", "meant"),
    [
        ("/a.jpg?a=1&amp;b=2", "/a.jpg?a=1&b=2"),
        ("/a.jpg?a=1&#38;b=2", "/a.jpg?a=1&b=2"),
        ("/a.jpg?a=1&#x26;b=2", "/a.jpg?a=1&b=2"),
        ("/a.jpg?a=1&copy=1", "/a.jpg?a=1&copy=1"),
        ("/a.jpg?a=1&lt=5&reg", "/a.jpg?a=1&lt=5&reg"),
        ("/a.jpg?a=1&nosuchthing;b", "/a.jpg?a=1&nosuchthing;b"),
    ],
)
def test_character_references_in_wat_urls(crawl: Any, in_wat: str, meant: str) -> None:
    location = crawl.write("https://a.example/", b"")
    write_wat(crawl, [record_of(location.offset, images({"url": in_wat}))])
    assert urls(read_all(crawl)[0]) == [f"https://a.example{meant}"]


def three(crawl: Any, page: Callable[..., bytes]) -> list[Any]:
    """Write three pages and return their valid WAT records."""
    for number in range(3):
        crawl.write(f"https://a.example/{number}", page("a.jpg"))
    return [record_of(location.offset, images({"url": "a.jpg"})) for location in crawl.locations]


@pytest.mark.parametrize(
    "broken",
    [
        b'{"Container": {"Offset": ',
        b"",
        b"\xff\xff",
        b"[" * 5000,
        [],
        None,
        "a string",
        {"Container": None},
        {"Container": {"Offset": ["0"]}},
        {"Container": "0"},
    ],
)
def test_a_broken_record_loses_only_itself(crawl: Any, page: Callable[..., bytes], broken: object) -> None:
    first, _, last = three(crawl, page)
    write_wat(crawl, [first, broken, last])
    good, lost, also_good = read_all(crawl)
    assert urls(good) == urls(also_good) == ["https://a.example/a.jpg"]
    assert isinstance(lost, RejectedDocument)
    assert lost.reason == Reason.PAGE_UNREADABLE
    assert "no record for that URL" in lost.detail


@pytest.mark.parametrize(
    "envelope", [None, {}, {"Payload-Metadata": []}, {"Payload-Metadata": {"HTTP-Response-Metadata": "x"}}]
)
def test_a_record_without_html_is_not_a_page(crawl: Any, page: Callable[..., bytes], envelope: object) -> None:
    first, second, last = three(crawl, page)
    write_wat(crawl, [first, {**second, "Envelope": envelope}, last])
    _, lost, good = read_all(crawl)
    assert isinstance(lost, RejectedDocument)
    assert lost.reason == Reason.NOT_HTML
    assert urls(good) == ["https://a.example/a.jpg"]


@pytest.mark.parametrize(
    "html",
    [
        {"Links": [{"path": "IMG@/src", "url": "a.jpg", "width": 640, "alt": 7}]},
        {"Head": [], "Links": [{"path": "IMG@/src", "url": "a.jpg"}]},
        {"Head": {"Base": {}}, "Links": [None, "x", {"path": ["IMG@/src"]}, {"path": "IMG@/src", "url": "a.jpg"}]},
        {"Links": [{"path": "IMG@/src"}, {"path": "IMG@/src", "url": None}, {"path": "IMG@/src", "url": "a.jpg"}]},
    ],
)
def test_odd_types_within_a_record_do_no_harm(crawl: Any, html: object) -> None:
    location = crawl.write("https://a.example/", b"")
    write_wat(crawl, [record_of(location.offset, html)])
    assert urls(read_all(crawl)[0]) == ["https://a.example/a.jpg"]


def test_a_page_without_links_is_a_page(crawl: Any) -> None:
    location = crawl.write("https://a.example/", b"")
    for html in ({}, {"Links": None}, {"Links": []}):
        write_wat(crawl, [record_of(location.offset, html)])
        assert urls(read_all(crawl)[0]) == []


def test_of_several_captures_of_a_url_the_one_at_the_offset_is_read(crawl: Any) -> None:
    old, new = (crawl.write("https://a.example/", b"") for _ in range(2))
    write_wat(crawl, [record_of(item.offset, images({"url": f"{item.offset}.jpg"})) for item in (old, new)])
    crawl.locations.remove(old)
    assert urls(read_all(crawl)[0]) == [f"https://a.example/{new.offset}.jpg"]


def test_a_truncated_file_gives_the_pages_before_its_end(crawl: Any, page: Callable[..., bytes]) -> None:
    path = write_wat(crawl, three(crawl, page))
    whole = path.read_bytes()
    for share in (0.5, 0.75, 0.85):
        path.write_bytes(whole[: int(len(whole) * share)])
        outcomes = read_all(crawl)
        assert isinstance(outcomes[-1], RejectedDocument)
        assert outcomes[-1].reason == Reason.PAGE_UNREADABLE
        assert all(urls(item) == ["https://a.example/a.jpg"] for item in outcomes if isinstance(item, PageContent))
    assert urls(outcomes[0]) == urls(outcomes[1]) == ["https://a.example/a.jpg"]


def test_a_missing_file_is_named_for_each_page(crawl: Any, page: Callable[..., bytes]) -> None:
    three(crawl, page)
    for outcome in read_all(crawl):
        assert isinstance(outcome, RejectedDocument)
        assert outcome.reason == Reason.PAGE_UNREADABLE
        assert "CC-MAIN-1.warc.wat.gz" in outcome.detail


def test_a_corrupt_record_loses_only_itself_and_is_counted(crawl: Any, page: Callable[..., bytes]) -> None:
    path = write_wat(crawl, three(crawl, page))
    damaged = bytearray(path.read_bytes())
    starts = [place for place in range(len(damaged)) if damaged.startswith(b"\x1f\x8b\x08", place)]
    damaged[starts[2] + 60] ^= 0xFF  # after the file's own record and the first page's
    path.write_bytes(damaged)
    good, lost, also_good = read_all(crawl)
    assert urls(good) == urls(also_good) == ["https://a.example/a.jpg"]
    assert isinstance(lost, RejectedDocument)
    assert lost.reason == Reason.PAGE_UNREADABLE
    assert "truncated at 1 place" in lost.detail


@pytest.mark.parametrize(
    ("alt", "meant"),
    [
        ("&#65;", "A"),
        ("&#" + "9" * 4400 + ";", "\ufffd"),
        ("&#x" + "F" * 100_000 + ";", "\ufffd"),
        ("&#" + "0" * 4400 + "65;", "A"),
        ("&#x" + "0" * 4400 + "41;", "A"),
        ("&#0;&#55296;&#1114112;", "\ufffd\ufffd\ufffd"),
        ("&" + "a" * 100_000 + ";", "&" + "a" * 100_000 + ";"),
        ("&eacute;&#128512;", "\u00e9\U0001f600"),
    ],
)
def test_character_references_of_any_length_cost_nothing(
    crawl: Any, page: Callable[..., bytes], alt: str, meant: str
) -> None:
    for name in "abc":
        crawl.write(f"https://{name}.example/", page("a.jpg"))
    records = [record_of(location.offset, images({"url": "a.jpg", "alt": alt})) for location in crawl.locations]
    write_wat(crawl, records)
    for outcome in read_all(crawl):
        assert isinstance(outcome, PageContent)
        assert outcome.links[0].alt == meant
