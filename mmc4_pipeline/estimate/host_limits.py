"""Estimates how long a process needs for a group of shards because hosts limit it, from the sizes of sites.

A process fetches a group of shards at a time, and is done with it when the slowest host is. A site of n images needs
n times the time between two starts: the delay per host, its Crawl-delay, or its latency shared by the open requests.
`benchmarks/crawl_simulation.py` runs the fetcher itself on such a web and compares its images/s with this.
"""

import numpy as np
import numpy.typing as npt

from mmc4_pipeline.estimate.web import (
    CRAWL_DELAYS,
    DEAD,
    DISTINCT,
    DOCUMENTS,
    HANGING,
    HEAD,
    LATENCIES,
    LATENCY_SPREAD,
    LINKS_PER_DOCUMENT,
    SHARED_SHARE,
    SITES,
    TOP,
    site_sizes,
)
from mmc4_pipeline.images.fetching.settings import FetchSettings

SHARD_SECONDS = 7200.0  # the default of --shard_seconds; what remains gets one more pass of the same length
DOCUMENTS_PER_SHARD = 2000  # the default of --documents_per_shard
_CLASSES = 1000  # of sites of about the same size, below the head
_MOMENTS = 500  # at which the chance that all are done is computed

Numbers = npt.NDArray[np.float64]


def group_seconds(shards: float, documents: int, crawl_delays: float, links: float = LINKS_PER_DOCUMENT) -> float:
    """Return the mean seconds until the slowest host of a group of shards is done.

    `documents` is the size of the run, a random sample of C4; `crawl_delays` the share of hosts with a Crawl-delay.
    """
    number, size = _sites(documents)
    parts = np.maximum(1, size / DOCUMENTS_PER_SHARD)  # larger sites are divided among shards
    here = min(1.0, shards * DOCUMENTS_PER_SHARD / documents)
    spacing, share = _spacings(crawl_delays)
    moments = np.geomspace(0.1, 2 * SHARD_SECONDS, _MOMENTS)
    slower = np.concatenate([np.cumsum(share[::-1])[::-1], [0.0]])  # the share of hosts with at least that spacing
    busy = slower[np.searchsorted(spacing, moments[:, None] / (size / parts * links * DISTINCT))]
    done = np.exp(np.sum(number * parts * np.log1p(-here * busy), axis=1))  # the chance that no host is busy any more
    return float(np.trapezoid(1 - done, moments)) + float(moments[0])


def largest_site_seconds(documents: int, links: float = LINKS_PER_DOCUMENT) -> float:
    """Return how long the largest site takes if its images are on one host, which all processes share.

    The first of the list, blogspot.com, is many sites with hosts of their own.
    """
    return documents * HEAD[1][1] / 100 * links * DISTINCT * FetchSettings().delay_per_host


def sites_with(documents: int) -> float:
    """Return how many sites have at least one of that many random documents of C4."""
    return float(_sites(documents)[0].sum())


def _sites(documents: int) -> tuple[Numbers, Numbers]:
    """Return, for each class of sites, how many have any of the documents, and how many documents each of these has."""
    head, bounds = np.arange(1, TOP + 1, dtype=float), np.geomspace(TOP + 0.5, SITES + 0.5, _CLASSES + 1)
    number = np.concatenate([np.ones(TOP), np.diff(bounds)])
    ranks = np.concatenate([head, np.sqrt(bounds[1:] * bounds[:-1])])
    mean = site_sizes(ranks) * documents / DOCUMENTS
    found = -np.expm1(-mean)
    return number * found, mean / found


def _spacings(crawl_delays: float) -> tuple[Numbers, Numbers]:
    """Return the seconds between two starts for each kind of host that responds, ascending, and the kind's share."""
    settings = FetchSettings()
    latency = np.array(LATENCIES) * np.exp(LATENCY_SPREAD**2 / 2)
    plain = np.maximum(settings.delay_per_host, latency / settings.max_open_per_host)
    delayed = np.maximum.outer(np.array(CRAWL_DELAYS, float), plain).ravel()
    alive = (1 - SHARED_SHARE) * (1 - DEAD - HANGING)
    shares = np.repeat(
        [alive * (1 - crawl_delays) / len(plain), alive * crawl_delays / len(delayed)], [len(plain), len(delayed)]
    )
    spacing = np.concatenate([plain, delayed])
    order = np.argsort(spacing)
    return spacing[order], shares[order]
