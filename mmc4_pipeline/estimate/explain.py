"""Puts an estimate's assumptions, and what follows from it, into words."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmc4_pipeline.estimate.corpus import Corpus
from mmc4_pipeline.estimate.crawl_size import CrawlSize
from mmc4_pipeline.estimate.estimate import ScoreSpeeds, Speeds, shards_in_flight
from mmc4_pipeline.estimate.host_limits import DOCUMENTS_PER_SHARD, group_seconds, largest_site_seconds
from mmc4_pipeline.estimate.needs import Needs, Prices, Resources
from mmc4_pipeline.estimate.other_scorers import ScorerCost
from mmc4_pipeline.estimate.published import PublishedDataset
from mmc4_pipeline.estimate.table import dollars, duration, in_words, rounded, short_bytes
from mmc4_pipeline.estimate.web import DISTINCT

_HOUR, _GB = 3600, 10**9


@dataclass(frozen=True, slots=True)
class Given:
    """What an estimate follows from; `score_source` says where CLIP's speeds are from. CLIP is not in `scorers`."""

    corpus: Corpus
    source: CrawlSize | PublishedDataset
    speeds: Speeds
    score: ScoreSpeeds
    score_source: str
    crawl_delays: float
    resources: Resources
    prices: Prices
    scorers: tuple[ScorerCost, ...] = ()


def assumptions(given: Given) -> str:
    """Return what the figures follow from."""
    corpus, resources, prices = given.corpus, given.resources, given.prices
    is_published = isinstance(given.source, PublishedDataset)
    device = "A GPU" if resources.gpus else "A core"
    lines = (
        _documents(corpus.documents, given.source),
        (
            f"{corpus.links_per_document:g} image links per document, {in_words(corpus.distinct)} different ones of "
            f"{short_bytes(corpus.image_bytes)} each: {_percent(corpus.received / corpus.distinct)} alive and usable, "
            f"{_percent(corpus.scored / corpus.distinct)} large enough to be scored, "
            f"{_percent(corpus.published / corpus.distinct)} in the dataset"
            f"{': the publisher has chosen them' if is_published else ', by the recipe mmc4'}. "
            f"{_percent(given.crawl_delays)} of the hosts have a Crawl-delay."
        ),
        _speeds(given.speeds, is_published=is_published),
        (
            f"{device} scores {in_words(given.score.images_per_second)} images or "
            f"{in_words(given.score.sentences_per_second)} sentences per second ({given.score_source})."
        ),
        *(cost.in_words(resources) for cost in given.scorers),
        (
            f"{resources.workers:g} workers with one core each (${prices.core_hour:g} an hour), {resources.gpus:g} "
            f"GPUs (${prices.gpu_hour:g} an hour), {short_bytes(resources.bytes_per_second)} per second each way"
            f"{'' if is_published else _common_crawl(resources, prices)}. --help says where the prices are from."
        ),
    )
    return "Assumptions:\n" + "\n".join(f"- {line}" for line in lines) + "\n"


def _documents(number: int, source: CrawlSize | PublishedDataset) -> str:
    if isinstance(source, PublishedDataset):
        files = "file" if source.files == 1 else "files"
        return (
            f"{number:,} documents in the layout {source.layout} in {source.files:,} {files} "
            f"({short_bytes(source.bytes)}), counted by the beginning of one of them. {_percent(source.with_images)} "
            f"have images, and these have {rounded(source.sentences_per_document):g} sentences each."
        )
    return (
        f"{number:,} documents from {source.name}, which has {in_words(source.pages)} pages in {source.files:,} WARC "
        f"files ({short_bytes(source.warc_bytes)}), WAT files ({short_bytes(source.wat_bytes)}) and an index of which "
        f"at most {short_bytes(source.index_bytes)} are read ({source.source})."
    )


def _speeds(speeds: Speeds, *, is_published: bool) -> str:
    reads = (
        f"reads {in_words(1 / speeds.range_seconds_per_page)} pages by range, "
        f"{short_bytes(speeds.wat_bytes_per_second)} of WAT files, {short_bytes(speeds.warc_bytes_per_second)} of "
        f"WARC files or {in_words(speeds.index_rows_per_second)} rows of the index per second, and "
    )
    decodes = f"decodes {in_words(speeds.images_decoded_per_second)} images per second (measured)."
    return f"A core of this machine {'' if is_published else reads}{decodes}"


def _common_crawl(resources: Resources, prices: Prices) -> str:
    return (
        f" (${prices.gigabyte:g} a GB from Common Crawl), {resources.requests_per_second:g} requests per second to "
        f"Common Crawl (${prices.million_requests:g} a million)"
    )


def conclusions(given: Given, locate: Needs | None, sources: Sequence[Needs], later: Sequence[Needs]) -> str:
    """Return what the table does not show."""
    corpus, resources = given.corpus, given.resources
    images, score, *_ = later
    best = sources[0].way
    about_pages = [
        f"Cheapest: --page_source {best}; the total includes only this one."
        + (" WAT files hold only the src of images, and no text." if best == "wat" else ""),
        "mmc4 locate looks each document up, because that costs less than reading the whole index."
        if locate and locate.way == "cdx"
        else "mmc4 locate reads the whole index: looking up this number of documents would cost more.",
    ]
    lines = [
        *(about_pages if locate else ["Nothing is located, and no page is read: texts and image URLs are published."]),
        _hosts(given),
        "Temporary files are in the output folder; a worker also needs up to 10 GB of its own disk for the images.",
    ]
    slowest = largest_site_seconds(corpus.documents, corpus.links_per_document) / _HOUR
    if slowest > images.hours:
        lines.append(
            f"The largest site alone needs {duration(slowest)} at the default --delay_per_host, however many workers "
            "there are; images that are not requested within --shard_seconds are deferred."
        )
    if not resources.gpus and score.hours > images.hours:
        lines.append("Scoring takes longest: --gpus estimates it with GPUs.")
    stored = sum(item.stored for item in (locate, sources[0], *later) if item)
    lines.append(
        f"Disk: {short_bytes(stored)} for all stages, {short_bytes(later[-1].stored)} for the dataset alone; keeping "
        f"all of it costs {dollars(stored / _GB * given.prices.stored_gigabyte_month)} a month."
    )
    lines.append("Costs include idle cores and GPUs. Times and costs may be off by a factor of two.")
    return "\n" + "\n".join(f"- {line}" for line in lines)


def _hosts(given: Given) -> str:
    corpus = given.corpus
    shards = shards_in_flight(corpus.documents, given.resources.workers)
    images = min(corpus.documents, shards * DOCUMENTS_PER_SHARD) * corpus.links_per_document * DISTINCT
    rates = [
        in_words(images / group_seconds(shards, corpus.documents, share, corpus.links_per_document))
        for share in (given.crawl_delays, 0.0)
    ]
    in_flight = "shard" if rounded(shards) == 1 else "shards"
    return (
        f"With {rounded(shards):g} {in_flight} in flight, the limits per host let a process request about {rates[0]} "
        f"images per second, or {rates[1]} if no host had a Crawl-delay."
    )


def _percent(share: float) -> str:
    return f"{rounded(100 * share):g}%"
