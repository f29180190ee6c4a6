"""Estimates what each of the five stages takes. Pure arithmetic on sizes and speeds."""

from dataclasses import dataclass
from math import ceil

from mmc4_pipeline.commoncrawl.cdx_index import BYTES_OF_LINE, LookUpCost
from mmc4_pipeline.estimate.corpus import (
    BASE64,
    C4_BYTES,
    IMAGE_ROW_BYTES,
    LEDGER_BYTES,
    LOCATION_BYTES,
    PAGE_BYTES,
    SCORE_BYTES,
    Corpus,
)
from mmc4_pipeline.estimate.crawl_size import CrawlSize
from mmc4_pipeline.estimate.host_limits import DOCUMENTS_PER_SHARD, group_seconds
from mmc4_pipeline.estimate.needs import Needs, Prices, Resources, Work
from mmc4_pipeline.images.fetch_shards import MAX_IN_FLIGHT

# Seconds of a core per document: to join it with the index (benchmarks/locate.py), and to cut a page's text into
# sentences and write it (60 real pages).
JOIN_SECONDS, TEXT_SECONDS = 1e-4, 1e-3
BLOCK_SECONDS = 0.015  # of a core, to decompress a block of the CDXJ index and search it (benchmarks/locate_few.py)
_PAGES_PER_LINE = 3000  # of cluster.idx
# Seconds of a core per image: to fetch it over HTTPS with a new connection (benchmarks/fetch.py), to prepare it for
# CLIP on a GPU (benchmarks/gpu.py), and to write it into a dataset's shard (benchmarks/shard_writing.py).
FETCH_SECONDS, PREPARE_SECONDS, WRITE_SECONDS = 1 / 447, 4e-3, 1 / 939


@dataclass(frozen=True, slots=True)
class Speeds:
    """How fast one core reads pages by range, scans compressed files, compares index rows with URLs, decodes images."""

    range_seconds_per_page: float
    wat_bytes_per_second: float
    warc_bytes_per_second: float
    index_rows_per_second: float
    images_decoded_per_second: float


@dataclass(frozen=True, slots=True)
class ScoreSpeeds:
    """How many images and sentences CLIP scores per second: on one GPU, or else on one core."""

    images_per_second: float
    sentences_per_second: float


def page_sources(
    documents: int, crawl: CrawlSize, speeds: Speeds, resources: Resources, prices: Prices, max_gap: int
) -> list[Needs]:
    """Return the needs of the pages stage by each page source, the cheapest first.

    Equally cheap sources are ordered by duration. Documents are assumed to be distributed over the crawl at random, as
    C4's are. `max_gap` is the largest gap in bytes between two records that are read with one request.
    """
    files = touched_files(documents, crawl.files)
    requests, read = merged_ranges(documents, files, crawl, max_gap)
    wat, warc = (files * total / crawl.files for total in (crawl.wat_bytes, crawl.warc_bytes))
    ways = [
        ("warc", requests, read, documents * speeds.range_seconds_per_page),
        ("wat", files, wat, wat / speeds.wat_bytes_per_second),
        ("warc_scan", files, warc, warc / speeds.warc_bytes_per_second),
    ]
    pages = documents * PAGE_BYTES
    needs = [
        Needs.of(
            "pages",
            way,
            Work(
                requests=asked,
                read=size,
                stored=pages,
                temporary=pages,
                core_seconds=seconds + documents * TEXT_SECONDS,
                from_common_crawl=True,
            ),
            resources,
            prices,
        )
        for way, asked, size, seconds in ways
    ]
    return sorted(needs, key=lambda item: (item.dollars, item.hours))


def locate_needs(documents: int, crawl: CrawlSize, speeds: Speeds, resources: Resources, prices: Prices) -> Needs:
    """Return the needs of the locate stage with `--index auto`.

    It reads a crawl's whole columnar index, or looks the documents up in its CDXJ index if that costs less.
    """
    look_ups = LookUpCost.of(crawl.pages // _PAGES_PER_LINE * BYTES_OF_LINE, documents)
    if 0 < look_ups.as_bytes < crawl.index_bytes:
        way, read, requests = "cdx", look_ups.read, look_ups.requests
        core_seconds = look_ups.requests * BLOCK_SECONDS
    else:
        way, read, requests = "columnar", crawl.index_bytes, crawl.index_requests
        core_seconds = crawl.pages / speeds.index_rows_per_second
    work = Work(
        requests=requests,
        read=read + documents * C4_BYTES,
        stored=documents * LOCATION_BYTES,
        temporary=documents * LOCATION_BYTES,  # about as many rows of the index are shuffled as there are documents
        core_seconds=core_seconds + documents * JOIN_SECONDS,
        from_common_crawl=True,
    )
    return Needs.of("locate", way, work, resources, prices)


def images_needs(corpus: Corpus, speeds: Speeds, crawl_delays: float, resources: Resources, prices: Prices) -> Needs:
    """Return the needs of the images stage; `crawl_delays` is the share of hosts with a Crawl-delay."""
    images = corpus.scored * corpus.image_bytes
    shards = ceil(corpus.documents / DOCUMENTS_PER_SHARD)
    in_flight = shards_in_flight(corpus.documents, resources.workers)
    rounds = max(1.0, shards / (in_flight * resources.workers))
    work = Work(
        requests=corpus.requests,
        read=corpus.bodies * corpus.image_bytes,
        stored=images + corpus.distinct * IMAGE_ROW_BYTES,
        temporary=images * min(1.0, 1 / rounds),
        core_seconds=corpus.requests * FETCH_SECONDS + corpus.received / speeds.images_decoded_per_second,
        waits={"hosts": rounds * group_seconds(in_flight, corpus.documents, crawl_delays, corpus.links_per_document)},
    )
    return Needs.of("images", "", work, resources, prices)


def shards_in_flight(documents: int, workers: float) -> float:
    """Return how many shards each process fetches at a time."""
    return max(1.0, min(MAX_IN_FLIGHT, documents / DOCUMENTS_PER_SHARD / workers))


def score_needs(corpus: Corpus, speeds: ScoreSpeeds, resources: Resources, prices: Prices) -> Needs:
    """Return the needs of the score stage, on the GPUs if there are any and else on the cores."""
    seconds = corpus.scored / speeds.images_per_second + corpus.sentences / speeds.sentences_per_second
    work = Work(
        read=corpus.scored * corpus.image_bytes,
        stored=corpus.scored * SCORE_BYTES,
        core_seconds=corpus.scored * PREPARE_SECONDS if resources.gpus else seconds,
        gpu_seconds=seconds if resources.gpus else 0.0,
    )
    return Needs.of("score", "gpu" if resources.gpus else "cpu", work, resources, prices)


def cut_needs(corpus: Corpus, resources: Resources, prices: Prices) -> Needs:
    """Return the needs of cutting one dataset, in the default format."""
    images = corpus.published * corpus.image_bytes
    work = Work(
        read=images,
        stored=images * BASE64 + corpus.published_text_bytes + corpus.distinct * LEDGER_BYTES,
        core_seconds=corpus.published * WRITE_SECONDS,
    )
    return Needs.of("cut", "", work, resources, prices)


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
