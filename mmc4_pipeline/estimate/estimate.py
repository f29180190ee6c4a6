"""Estimates what locating takes, and reading the pages from each source. Pure arithmetic on sizes and speeds."""

from dataclasses import dataclass

from mmc4_pipeline.estimate.crawl_size import CrawlSize

_HOUR, _GB = 3600, 10**9


@dataclass(frozen=True, slots=True)
class Speeds:
    """How fast one core reads pages by range, scans compressed files, and compares index rows with wanted URLs."""

    range_seconds_per_page: float
    wat_bytes_per_second: float
    warc_bytes_per_second: float
    index_rows_per_second: float


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits of the whole run: cores, and bytes and requests per second from Common Crawl."""

    cores: float
    bytes_per_second: float
    requests_per_second: float


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in US dollars, per core and hour, gigabyte read, and million requests."""

    core_hour: float
    gigabyte: float
    million_requests: float


@dataclass(frozen=True, slots=True)
class Needs:
    """What a page source, or the index, takes. `hours` is the duration, and `limit` the resource that determines it.

    `core_hours` is the work. `dollars` includes idle cores, because a machine is paid for while it waits, too.
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
    """Return the needs of each page source, the cheapest first. Equally cheap sources are ordered by duration.

    Documents are assumed to be distributed over the crawl at random, as C4's are. `max_gap` is the largest gap in bytes
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
    """Return the needs of reading a crawl's whole columnar index, as locate does for any number of documents."""
    seconds = crawl.pages / speeds.index_rows_per_second
    return _needs("index", crawl.index_requests, crawl.index_bytes, seconds, resources, prices)


def touched_files(documents: int, files: int) -> float:
    """Return how many of the files hold at least one of the documents."""
    return files * (1 - (1 - 1 / files) ** documents)


def merged_ranges(documents: int, files: float, crawl: CrawlSize, max_gap: int) -> tuple[float, float]:
    """Return the requests and the bytes of reading the documents' records, neighbouring ones with one request.

    Between two wanted records of a file there are k others with probability p(1-p)^k, where p is the wanted share of
    its pages. The two are read with one request if k records fit the gap.
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
