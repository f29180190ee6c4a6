"""The estimate of locating and reading pages, compared with small random crawls that are counted."""

import random
from collections import defaultdict
from statistics import mean

import pytest

from mmc4_pipeline.estimate.corpus import PAGE_BYTES
from mmc4_pipeline.estimate.crawl_size import CrawlSize
from mmc4_pipeline.estimate.estimate import (
    JOIN_SECONDS,
    TEXT_SECONDS,
    Speeds,
    locate_needs,
    merged_ranges,
    page_sources,
    touched_files,
)
from mmc4_pipeline.estimate.needs import Needs, Prices, Resources

SIZE = 1000  # bytes per record; less than what the pages stage stores per document
CRAWL = CrawlSize(
    "small",
    "drawn",
    pages=400_000,
    files=40,
    warc_bytes=400_000 * SIZE,
    wat_bytes=80_000 * SIZE,
    index_bytes=9_000_000,
    index_requests=90,
)
SPEEDS = Speeds(
    0.01, wat_bytes_per_second=1e6, warc_bytes_per_second=2e6, index_rows_per_second=1e4, images_decoded_per_second=100
)
FREE = Prices(core_hour=1.0, gpu_hour=7.0, gigabyte=0.0, million_requests=0.0, stored_gigabyte_month=0.0)
AMPLE = Resources(workers=1, bytes_per_second=1e12, requests_per_second=1e12)


def by_source(documents: int, resources: Resources, prices: Prices = FREE, max_gap: int = 0) -> dict[str, Needs]:
    """Return the needs of each page source, the cheapest first."""
    return {item.way: item for item in page_sources(documents, CRAWL, SPEEDS, resources, prices, max_gap)}


def counted(documents: int, max_gap: int) -> tuple[int, int, int]:
    """Draw documents from the crawl, merge neighbours, and count files, requests and bytes."""
    per_file = CRAWL.pages // CRAWL.files
    wanted = defaultdict(list)
    drawn = random.Random(7).sample(range(CRAWL.pages), documents)
    for page in sorted(drawn):
        wanted[page // per_file].append(page % per_file)
    requests = read = 0
    for pages in wanted.values():
        end = None
        for page in pages:
            if end is None or (page - end) * SIZE > max_gap:
                requests += 1
            else:
                read += (page - end) * SIZE
            read += SIZE
            end = page + 1
    return len(wanted), requests, read


@pytest.mark.parametrize("max_gap", [0, 3 * SIZE, 40 * SIZE])
@pytest.mark.parametrize("documents", [20_000, 60_000, 300_000])
def test_the_estimate_matches_a_drawn_crawl(documents: int, max_gap: int) -> None:
    files, requests, read = counted(documents, max_gap)
    estimated = touched_files(documents, CRAWL.files)
    assert estimated == pytest.approx(files)
    assert merged_ranges(documents, estimated, CRAWL, max_gap) == pytest.approx((requests, read), rel=0.08)


@pytest.mark.parametrize("documents", [1, 20, 50, 200])
def test_the_number_of_touched_files_is_the_mean_of_many_draws(documents: int) -> None:
    rng = random.Random(7)
    drawn = [len({rng.randrange(40) for _ in range(documents)}) for _ in range(2_000)]
    assert touched_files(documents, 40) == pytest.approx(mean(drawn), rel=0.02)


def test_all_documents_of_the_crawl_are_one_request_per_file() -> None:
    requests, read = merged_ranges(CRAWL.pages, CRAWL.files, CRAWL, 0)
    assert (requests, read) == pytest.approx((CRAWL.files, CRAWL.warc_bytes))


def test_a_single_document_is_one_request_and_one_file() -> None:
    needs = by_source(1, AMPLE)
    assert (needs["warc"].requests, needs["warc"].read) == (1, SIZE)
    assert (needs["wat"].requests, needs["wat"].read) == (1, CRAWL.wat_bytes // CRAWL.files)
    assert needs["warc_scan"].read == CRAWL.warc_bytes // CRAWL.files


def test_few_documents_are_cheapest_by_range_and_all_by_wat() -> None:
    resources = Resources(workers=1, bytes_per_second=1e7, requests_per_second=20)
    assert [next(iter(by_source(number, resources))) for number in (3, 390_000)] == ["warc", "wat"]


@pytest.mark.parametrize(
    ("resources", "limit", "hours"),
    [
        (Resources(1, 1e12, 1e12), "cores", 4_000 * (0.01 + TEXT_SECONDS) / 3600),
        (Resources(4, 1e12, 1e12), "cores", 1_000 * (0.01 + TEXT_SECONDS) / 3600),
        (Resources(1, 100, 1e12), "network", 4_000 * PAGE_BYTES / 100 / 3600),
        (Resources(1, 1e12, 2), "requests", 4_000 / 2 / 3600),
    ],
)
def test_the_scarcest_resource_determines_the_duration(resources: Resources, limit: str, hours: float) -> None:
    needs = by_source(4_000, resources, max_gap=-SIZE)
    assert needs["warc"].limit == limit
    assert needs["warc"].hours == pytest.approx(hours, rel=0.01)
    assert needs["warc"].dollars == pytest.approx(needs["warc"].hours * resources.workers)


@pytest.mark.parametrize(
    ("resources", "limit", "seconds"),
    [
        (Resources(4, 1e12, 1e12), "cores", 10),
        (Resources(1, 1e5, 1e12), "network", 90),
        (Resources(1, 1e12, 1), "requests", 90),
    ],
)
def test_the_index_is_read_whole(resources: Resources, limit: str, seconds: float) -> None:
    locate = locate_needs(0, CRAWL, SPEEDS, resources, FREE)
    assert (locate.requests, locate.read, locate.limit) == (90, 9_000_000, limit)
    assert locate.core_hours == pytest.approx(40 / 3600)
    assert locate.hours == pytest.approx(seconds / 3600)
    assert locate.dollars == pytest.approx(locate.hours * resources.workers)


def test_documents_are_read_and_joined_with_the_index() -> None:
    none, some, twice = (locate_needs(number, CRAWL, SPEEDS, AMPLE, FREE) for number in (0, 50_000, 100_000))
    assert some.core_hours - none.core_hours == pytest.approx(50_000 * JOIN_SECONDS / 3600)
    assert twice.read - none.read == pytest.approx(2 * (some.read - none.read), abs=2)
    assert twice.stored == pytest.approx(2 * some.stored)


def test_each_price_is_charged() -> None:
    prices = Prices(core_hour=0.0, gpu_hour=0.0, gigabyte=3.0, million_requests=5.0, stored_gigabyte_month=0.0)
    for item in by_source(4_000, AMPLE, prices).values():
        assert item.dollars == pytest.approx(item.read / 1e9 * 3 + item.requests / 1e6 * 5, rel=0.01)
