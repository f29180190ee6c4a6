"""Estimates what locating takes, and the pages by each source. Pure arithmetic: sizes and speeds in, figures out."""

from dataclasses import dataclass

from mmc4_pipeline.estimate.crawl_size import CrawlSize

_HOUR, _GB = 3600, 10**9


@dataclass(frozen=True, slots=True)
class Speeds:
    """How fast one core is: seconds a page read from its own range, bytes of compressed file scanned a second.

    `index_rows_per_second` are captures that are compared with the wanted URLs.
    """

    range_seconds_per_page: float
    wat_bytes_per_second: float
    warc_bytes_per_second: float
    index_rows_per_second: float


@dataclass(frozen=True, slots=True)
class Resources:
    """What the run may use in all: cores, bytes a second from Common Crawl, requests a second to it."""

    cores: float
    bytes_per_second: float
    requests_per_second: float


@dataclass(frozen=True, slots=True)
class Prices:
    """Unit prices in US dollars: a core for an hour, a gigabyte read, a million requests."""

    core_hour: float
    gigabyte: float
    million_requests: float


@dataclass(frozen=True, slots=True)
class Needs:
    """What one page source takes, or the index. `core_hours` is work, `hours` how long it lasts, and `limit` says why.

    `dollars` counts the cores for as long as the stage lasts: a machine that waits is paid for too.
    """

    source: str
    requests: int
    bytes: int
    core_hours: float
    hours: float
    limit: str
    dollars: float


def estimate(
    documents: int, crawl: CrawlSize, speeds: Speeds, resources: Resources, prices: Prices, max_gap: int
) -> list[Needs]:
    """Give the needs of each page source, the cheapest first, of equally cheap ones the fastest.

    The documents are taken to be spread over the crawl at random, as C4's are. `max_gap` is the largest gap in bytes
    between two records that are read with one request.
    """
    files = touched_files(documents, crawl.files)
    requests, read = merged_ranges(documents, files, crawl, max_gap)
    wat, warc = (files * total / crawl.files for total in (crawl.wat_bytes, crawl.warc_bytes))
    work = [
        ("warc", requests, read, documents * speeds.range_seconds_per_page),
        ("wat", files, wat, wat / speeds.wat_bytes_per_second),
        ("warc_scan", files, warc, warc / speeds.warc_bytes_per_second),
    ]
    needs = [_needs(*item, resources, prices) for item in work]
    return sorted(needs, key=lambda item: (item.dollars, item.hours))


def index_needs(crawl: CrawlSize, speeds: Speeds, resources: Resources, prices: Prices) -> Needs:
    """Give the needs of reading a crawl's whole columnar index, which any number of documents takes to be located."""
    seconds = crawl.pages / speeds.index_rows_per_second
    return _needs("index", crawl.index_requests, crawl.index_bytes, seconds, resources, prices)


def touched_files(documents: int, files: int) -> float:
    """Give how many of the files hold one of the documents or more."""
    return files * (1 - (1 - 1 / files) ** documents)


def merged_ranges(documents: int, files: float, crawl: CrawlSize, max_gap: int) -> tuple[float, float]:
    """Give the requests and the bytes of reading the documents' records, near ones with one request.

    Between two wanted records of a file lie k others with probability p(1-p)^k, p being the wanted share of its pages;
    the two are merged where k records fit the gap.
    """
    size = crawl.warc_bytes / crawl.pages
    share = min(1.0, documents / crawl.pages * crawl.files / files)
    others = int(max_gap // size)
    chance = [share * (1 - share) ** between for between in range(others + 1)]
    neighbours = max(0.0, documents - files)
    requests = documents - neighbours * sum(chance)
    skipped = neighbours * size * sum(between * probability for between, probability in enumerate(chance))
    return requests, documents * size + skipped


def _needs(
    source: str, requests: float, read: float, core_seconds: float, resources: Resources, prices: Prices
) -> Needs:
    limits = {
        "cores": core_seconds / resources.cores,
        "network": read / resources.bytes_per_second,
        "requests": requests / resources.requests_per_second,
    }
    limit = max(limits, key=lambda name: limits[name])
    hours = limits[limit] / _HOUR
    dollars = (
        hours * resources.cores * prices.core_hour
        + read / _GB * prices.gigabyte
        + requests / 1e6 * prices.million_requests
    )
    return Needs(source, round(requests), round(read), core_seconds / _HOUR, hours, limit, dollars)
