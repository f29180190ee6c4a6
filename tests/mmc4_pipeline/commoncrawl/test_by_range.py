"""Ranges of WARC files: every record once, few requests, and no page lost to a server's failures."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.commoncrawl.by_range import MAX_GAP, MAX_RANGE_BYTES, Range, pages_by_range, plan_ranges
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.recipe import LinkSettings
from mmc4_pipeline.storage import Inputs
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason
from tests.mmc4_pipeline.file_server import (
    IMPATIENT,
    INPUTS,
    FileServer,
    Way,
    claiming,
    cut,
    slow,
    stalled,
    status,
    well,
    without_length,
    without_range,
)

Page = Callable[..., bytes]
READER = PageReader(LinkSettings())
MOMENT = datetime(2019, 4, 25, tzinfo=UTC)


def at(offset: int, length: int) -> Location:
    url = f"https://a.example/{offset}-{length}"
    return Location(url, url, MOMENT, "a.example", "c4:1", MOMENT, "f", offset, length, False)


def spans(locations: list[Location]) -> list[tuple[int, int]]:
    return sorted((location.offset, location.offset + location.length) for location in locations)


def check_covered(ranges: list[Range], locations: list[Location]) -> None:
    """Check that each location is completely in one range, and that its record is exactly its own bytes."""
    assert spans([location for part in ranges for location in part.locations]) == spans(locations)
    for part in ranges:
        assert part.start == min(location.offset for location in part.locations)
        assert part.end == max(location.offset + location.length for location in part.locations)
        for location in part.locations:
            assert part.start <= location.offset
            assert location.offset + location.length <= part.end
        if part.end - part.start < 10_000:
            data = bytes(number % 251 for number in range(part.start, part.end))
            for location in part.locations:
                own = range(location.offset, location.offset + location.length)
                assert part.record(data, location) == bytes(number % 251 for number in own)


LENGTHS = st.one_of(st.integers(1, 50), st.integers(1, 2_000_000), st.integers(1, 2 * MAX_RANGE_BYTES))
GAPS = st.one_of(st.just(0), st.integers(0, 50), st.integers(MAX_GAP - 1, MAX_GAP + 1), st.integers(0, 5 * MAX_GAP))


@given(st.lists(st.tuples(GAPS, LENGTHS, st.integers(1, 2)), max_size=40), st.randoms())
def test_records_of_a_warc_file_are_each_read_once_with_no_gap_worth_a_request(
    records: list[tuple[int, int, int]], shuffler: random.Random
) -> None:
    locations, position = [], 0
    for gap, length, times in records:
        locations += [at(position + gap, length)] * times  # two documents may name one record
        position += gap + length
    shuffled = list(locations)
    shuffler.shuffle(shuffled)
    ranges = plan_ranges(shuffled)
    check_covered(ranges, locations)
    assert all(before.end <= after.start for before, after in pairwise(ranges))
    for part in ranges:
        assert all(start - end <= MAX_GAP for (_, end), (start, _) in pairwise(spans(list(part.locations))))
        assert part.end - part.start <= MAX_RANGE_BYTES or len(set(spans(list(part.locations)))) == 1
    for before, after in pairwise(ranges):  # and no request is superfluous
        grown = after.start + after.locations[0].length - before.start
        assert after.start - before.end > MAX_GAP or grown > MAX_RANGE_BYTES
    assert ranges == plan_ranges(reversed(shuffled))


@given(st.lists(st.tuples(st.integers(0, 3 * MAX_RANGE_BYTES), LENGTHS), max_size=40))
def test_whatever_the_index_says_ranges_cover_it_and_stay_within_memory(rows: list[tuple[int, int]]) -> None:
    locations = [at(*row) for row in rows]
    ranges = plan_ranges(locations)
    check_covered(ranges, locations)
    longest = max((length for _, length in rows), default=0)
    assert all(part.end - part.start <= max(MAX_RANGE_BYTES, longest) for part in ranges)
    assert all(before.start <= after.start for before, after in pairwise(ranges))


@pytest.fixture
def far(crawl: Any, page: Page) -> Any:
    """Return a WARC file with three groups of three pages, too far apart to be read in one request."""
    for group in range(3):
        for number in range(3):
            crawl.write(f"https://a.example/{group}/{number}", page(f"{group}{number}.jpg"))
        filler = random.Random(group).randbytes(MAX_GAP + 1000)
        crawl.write(f"https://a.example/{group}/video", filler, "video/mp4")
        crawl.locations.pop()
    return crawl


@pytest.fixture
def server(far: Any, serve: Callable[[dict[str, bytes]], FileServer]) -> FileServer:
    return serve({f"/{far.locations[0].warc_filename}": far.path.read_bytes()})


def read(root: str, crawl: Any, inputs: Inputs = INPUTS) -> list[PageContent | RejectedDocument]:
    backwards = crawl.locations[::-1]
    return list(pages_by_range(inputs, root, crawl.locations[0].warc_filename, backwards, READER))


def test_neighbours_are_one_request(server: FileServer, far: Any) -> None:
    pages = read(server.address, far)
    assert [page.links[0].url for page in pages if isinstance(page, PageContent)] == [
        f"https://a.example/{group}/{group}{number}.jpg" for group in range(3) for number in range(3)
    ]
    assert pages == read(str(far.root), far)
    assert len(server.requests) == 3
    wanted = sum(location.length for location in far.locations)
    assert sum(one.sent for one in server.finished()) == wanted


@pytest.mark.parametrize(
    "way",
    [
        *(status(code) for code in (429, 500, 503)),
        status(503, Retry_After="0"),
        cut(0),
        cut(700),
        stalled(700),
        slow(20, 0.005),
    ],
)
def test_failures_lose_nothing_and_read_nothing_twice(server: FileServer, far: Any, way: Way) -> None:
    server.ways.extend([way, well, way, way])
    assert read(server.address, far) == read(str(far.root), far)
    sent = sorted(server.spans())
    assert all(before[1] <= after[0] for before, after in pairwise(sent))
    assert sum(end - start for start, end in sent) == sum(location.length for location in far.locations)


@pytest.mark.parametrize("usual", [without_range, without_length])
def test_a_server_that_ignores_range_gets_one_request(server: FileServer, far: Any, usual: Way) -> None:
    server.usual = usual
    assert read(server.address, far) == read(str(far.root), far)
    assert len(server.requests) == 1


def test_the_rate_is_kept_while_some_requests_fail(server: FileServer, far: Any) -> None:
    server.ways.extend([well, status(503), cut(10)])
    began = time.monotonic()
    pages = read(server.address, far, Inputs(replace(IMPATIENT, requests_per_second=20)))
    assert time.monotonic() - began >= 4 / 20
    assert len(server.requests) == 5
    assert pages == read(str(far.root), far)


def test_wrong_bytes_cost_their_own_pages_only(server: FileServer, far: Any) -> None:
    server.ways.extend([claiming("bytes 5-900/100000", shift=5)])
    pages = read(server.address, far)
    assert [type(page) for page in pages] == [RejectedDocument] * 3 + [PageContent] * 6
    assert all("bytes from 0" in page.detail for page in pages if isinstance(page, RejectedDocument))


@pytest.mark.parametrize("code", [404, 410])
def test_a_file_that_is_not_there_is_a_drop_with_its_status(server: FileServer, far: Any, code: int) -> None:
    server.usual = status(code)
    pages = read(server.address, far)
    assert len(pages) == 9
    for page in pages:
        assert isinstance(page, RejectedDocument)
        assert (page.reason, f"HTTP {code}" in page.detail) == (Reason.PAGE_UNREADABLE, True)
    assert len(server.requests) == 2


@pytest.mark.parametrize(("way", "why"), [(status(503), "in 5 tries"), (status(403), "refused")])
def test_a_server_that_stays_busy_or_refuses_ends_the_run_and_drops_nothing(
    server: FileServer, far: Any, way: Way, why: str
) -> None:
    server.ways.append(well)
    server.usual = way
    pages = pages_by_range(INPUTS, server.address, far.locations[0].warc_filename, far.locations, READER)
    assert [type(next(pages)) for _ in range(3)] == [PageContent] * 3
    with pytest.raises(UserError, match=f"{why}.*--resume"):
        next(pages)


def test_the_file_s_end_is_where_the_server_says(server: FileServer, far: Any) -> None:
    (path,) = server.files
    server.files[path] = server.files[path][: far.locations[4].offset + 9]
    pages = read(server.address, far)
    assert [type(page) for page in pages] == [PageContent] * 4 + [RejectedDocument] * 5
    assert {page.detail for page in pages if isinstance(page, RejectedDocument)} == {
        "the WARC file ends before the record does"
    }
