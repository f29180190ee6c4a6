"""Pages from real WARC files, by range and by scan: the right record, or the right reason."""

import gzip
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from mmc4_pipeline.commoncrawl.by_range import pages_by_range
from mmc4_pipeline.commoncrawl.by_scan import pages_by_scan
from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.recipe import LinkSettings
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason
from tests.mmc4_pipeline.file_server import INPUTS

READER = PageReader(LinkSettings())
Read = Callable[[str, str, list[Location], PageReader], Iterator[PageContent | RejectedDocument]]
BOTH = pytest.mark.parametrize("read", [pages_by_range, pages_by_scan])


def read_all(
    read: Read, crawl: Any, locations: list[Location] | None = None
) -> dict[str, PageContent | RejectedDocument]:
    """Return the outcome of each location by URL, after checking that each has exactly one."""
    locations = crawl.locations if locations is None else locations
    outcomes = list(read(INPUTS, str(crawl.root), locations[0].warc_filename, locations, READER))
    by_url = {item.location.url if isinstance(item, PageContent) else item.url: item for item in outcomes}
    assert sorted(by_url) == sorted(location.url for location in locations)
    assert len(outcomes) == len(locations)
    return by_url


def links(outcome: PageContent | RejectedDocument) -> list[str]:
    assert isinstance(outcome, PageContent), outcome
    return [link.url for link in outcome.links]


def refusal(outcome: PageContent | RejectedDocument) -> tuple[str, str]:
    assert isinstance(outcome, RejectedDocument), outcome
    return outcome.reason, outcome.detail


@BOTH
def test_each_location_gets_the_page_at_its_offset(crawl: Any, page: Callable[..., bytes], read: Read) -> None:
    for number in range(5):
        url = f"https://a.example/{number}/"
        crawl.write(url, b"", kind="request")
        crawl.write(url, page(f"{number}.jpg", "/last.jpg"))
    wanted = crawl.locations[9], crawl.locations[1]  # unordered, and not all
    outcomes = read_all(read, crawl, list(wanted))
    assert links(outcomes["https://a.example/0/"]) == ["https://a.example/0/0.jpg", "https://a.example/last.jpg"]
    assert links(outcomes["https://a.example/4/"]) == ["https://a.example/4/4.jpg", "https://a.example/last.jpg"]


@BOTH
def test_of_several_captures_of_a_url_the_one_at_the_offset_is_read(
    crawl: Any, page: Callable[..., bytes], read: Read
) -> None:
    crawl.write("https://a.example/", page("old.jpg"))
    second = crawl.write("https://a.example/", page("new.jpg"))
    assert links(read_all(read, crawl, [second])["https://a.example/"]) == ["https://a.example/new.jpg"]


@BOTH
def test_encodings_of_the_http_message_are_undone(crawl: Any, page: Callable[..., bytes], read: Read) -> None:
    crawl.write("https://a.example/", gzip.compress(page("a.jpg")), headers=(("Content-Encoding", "gzip"),))
    body = page("b.jpg")
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    crawl.write("https://b.example/", chunked, headers=(("Transfer-Encoding", "chunked"),))
    outcomes = read_all(read, crawl)
    assert links(outcomes["https://a.example/"]) == ["https://a.example/a.jpg"]
    assert links(outcomes["https://b.example/"]) == ["https://b.example/b.jpg"]


@BOTH
def test_angle_brackets_around_the_url_are_not_part_of_it(crawl: Any, page: Callable[..., bytes], read: Read) -> None:
    crawl.write("<https://a.example/>", page("a.jpg"))
    assert links(read_all(read, crawl)["https://a.example/"]) == ["https://a.example/a.jpg"]


@BOTH
@pytest.mark.parametrize(
    ("content_type", "is_page"),
    [
        ("text/html", True),
        ("TEXT/HTML; charset=x-nonsense", True),
        ("application/xhtml+xml", True),
        ("text/plain", True),
        (None, True),
        ("image/jpeg", False),
        ("application/pdf", False),
    ],
)
def test_only_pages_are_read_as_pages(
    crawl: Any, page: Callable[..., bytes], read: Read, content_type: str | None, *, is_page: bool
) -> None:
    crawl.write("https://a.example/", page("a.jpg"), content_type)
    outcome = read_all(read, crawl)["https://a.example/"]
    if is_page:
        assert links(outcome) == ["https://a.example/a.jpg"]
    else:
        assert refusal(outcome) == (Reason.NOT_HTML, f"Content-Type {content_type}")


@BOTH
def test_a_charset_that_cannot_decode_costs_no_page(crawl: Any, page: Callable[..., bytes], read: Read) -> None:
    crawl.write("https://a.example/", page("a.jpg"), "text/html; charset=idna")
    crawl.write("https://b.example/", page("b.jpg"), "text/html; charset=undefined")
    outcomes = read_all(read, crawl)
    assert links(outcomes["https://a.example/"]) == ["https://a.example/a.jpg"]
    assert links(outcomes["https://b.example/"]) == ["https://b.example/b.jpg"]


@BOTH
def test_a_request_record_at_the_offset_is_not_a_page(crawl: Any, page: Callable[..., bytes], read: Read) -> None:
    request = crawl.write("https://a.example/", b"", kind="request")
    crawl.write("https://a.example/", page("a.jpg"))
    reason, detail = refusal(read_all(read, crawl, [request])["https://a.example/"])
    assert reason == Reason.PAGE_UNREADABLE
    assert "no response record" in detail


@BOTH
def test_the_record_of_another_url_is_not_a_page(crawl: Any, page: Callable[..., bytes], read: Read) -> None:
    location = crawl.write("https://a.example/", page("a.jpg"))
    wrong = replace(location, url="https://b.example/")
    outcomes = read_all(read, crawl, [wrong])
    assert refusal(outcomes["https://b.example/"])[0] == Reason.PAGE_UNREADABLE
    # A broken index row also does not affect the page of the right one.
    outcomes = read_all(read, crawl, [location, wrong])
    assert links(outcomes["https://a.example/"]) == ["https://a.example/a.jpg"]
    assert refusal(outcomes["https://b.example/"])[0] == Reason.PAGE_UNREADABLE


@BOTH
@pytest.mark.parametrize("shift", [1, 200, 10**9])
def test_an_offset_without_record_is_not_a_page(crawl: Any, page: Callable[..., bytes], read: Read, shift: int) -> None:
    crawl.write("https://a.example/", page("a.jpg"))
    location = crawl.write("https://b.example/", page("b.jpg"))
    astray = replace(location, offset=location.offset + shift)
    assert refusal(read_all(read, crawl, [astray])["https://b.example/"])[0] == Reason.PAGE_UNREADABLE


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, -5), (-1, 100), (0, 1 << 40)])
def test_impossible_ranges_are_refused_before_they_are_read(
    crawl: Any, page: Callable[..., bytes], offset: int, length: int
) -> None:
    location = replace(crawl.write("https://a.example/", page("a.jpg")), offset=offset, length=length)
    reason, detail = refusal(read_all(pages_by_range, crawl, [location])["https://a.example/"])
    assert reason == Reason.PAGE_UNREADABLE
    assert "the index gives" in detail


@BOTH
def test_a_missing_file_is_named_for_each_of_its_pages(crawl: Any, page: Callable[..., bytes], read: Read) -> None:
    for name in "ab":
        crawl.write(f"https://{name}.example/", page("a.jpg"))
    crawl.path.unlink()
    for outcome in read_all(read, crawl).values():
        reason, detail = refusal(outcome)
        assert reason == Reason.PAGE_UNREADABLE
        assert crawl.path.name in detail


@BOTH
@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.999])
def test_a_truncated_file_gives_the_pages_before_its_end(
    crawl: Any, page: Callable[..., bytes], read: Read, share: float
) -> None:
    for number in range(4):
        crawl.write(f"https://a.example/{number}", page("first.jpg", "last.jpg"))
    cut = crawl.locations[2]
    crawl.path.write_bytes(crawl.path.read_bytes()[: cut.offset + max(1, int(cut.length * share))])
    outcomes = read_all(read, crawl)
    for number in (0, 1):
        assert links(outcomes[f"https://a.example/{number}"]) == [
            "https://a.example/first.jpg",
            "https://a.example/last.jpg",
        ]
    for number in (2, 3):
        assert refusal(outcomes[f"https://a.example/{number}"])[0] == Reason.PAGE_UNREADABLE


@BOTH
def test_no_damage_to_a_record_stops_the_reading(crawl: Any, page: Callable[..., bytes], read: Read) -> None:
    crawl.write("https://a.example/", page("a.jpg"))
    location = crawl.write("https://b.example/", page("b.jpg"))
    whole = crawl.path.read_bytes()
    refused = 0
    for place in range(location.offset, location.offset + location.length, 23):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        crawl.path.write_bytes(damaged)
        outcomes = read_all(read, crawl)
        assert links(outcomes["https://a.example/"]) == ["https://a.example/a.jpg"]
        refused += isinstance(outcomes["https://b.example/"], RejectedDocument)
    assert refused > 0.9 * location.length / 23  # a few bytes of a gzip header have no meaning


def test_a_scan_reads_on_after_damage_and_reports_what_was_lost(crawl: Any, page: Callable[..., bytes]) -> None:
    for number in range(6):
        crawl.write(f"https://a.example/{number}", page(f"{number}.jpg"))
    damaged = bytearray(crawl.path.read_bytes())
    for number in (1, 2, 4):
        place = crawl.locations[number].offset + 300
        damaged[place : place + 40] = bytes(40)
    crawl.path.write_bytes(damaged[: crawl.locations[5].offset + 300])
    outcomes = read_all(pages_by_scan, crawl)
    for number in (0, 3):
        assert links(outcomes[f"https://a.example/{number}"]) == [f"https://a.example/{number}.jpg"]
    for number in (1, 2, 4, 5):
        reason, detail = refusal(outcomes[f"https://a.example/{number}"])
        assert reason == Reason.PAGE_UNREADABLE
        assert "the record is corrupt or truncated" in detail


@BOTH
def test_a_broken_encoding_does_not_affect_other_pages(crawl: Any, page: Callable[..., bytes], read: Read) -> None:
    crawl.write("https://a.example/", b"this is no gzip", headers=(("Content-Encoding", "gzip"),))
    crawl.write("https://b.example/", page("b.jpg"))
    assert links(read_all(read, crawl)["https://b.example/"]) == ["https://b.example/b.jpg"]
