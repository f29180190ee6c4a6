"""How long hosts let a process take: compared with drawn webs, and with the recorded simulation of the fetcher."""

from statistics import mean

import numpy as np
import pytest

from mmc4_pipeline.estimate.host_limits import (
    DOCUMENTS_PER_SHARD,
    SHARD_SECONDS,
    group_seconds,
    largest_site_seconds,
    sites_with,
)
from mmc4_pipeline.estimate.web import (
    CRAWL_DELAYS,
    DEAD,
    DISTINCT,
    DOCUMENTS,
    HANGING,
    LATENCIES,
    LATENCY_SPREAD,
    LINKS_PER_DOCUMENT,
    SHARED_SHARE,
    SITES,
    site_sizes,
)

IMAGES_PER_DOCUMENT = LINKS_PER_DOCUMENT * DISTINCT
DRAWN = 20_000


@pytest.fixture(scope="module")
def bounds() -> np.ndarray:
    """Return where each site's documents end if all documents of C4 are sorted by site."""
    return np.cumsum(site_sizes(np.arange(1, SITES + 1, dtype=float)))


def slowest_host(bounds: np.ndarray, crawl_delays: float, seed: int) -> tuple[float, int]:
    """Draw documents; return the seconds of the slowest host, and the number of sites."""
    numbers = np.random.default_rng(seed)
    site = np.searchsorted(bounds, numbers.random(DRAWN) * bounds[-1])
    found, documents = np.unique(site, return_counts=True)
    spacing = np.maximum(0.25, numbers.choice(LATENCIES, len(found)) * np.exp(LATENCY_SPREAD**2 / 2) / 4)
    delay = numbers.choice(CRAWL_DELAYS, len(found))
    spacing = np.where(numbers.random(len(found)) < crawl_delays, np.maximum(delay, spacing), spacing)
    responds = numbers.random(len(found)) < (1 - SHARED_SHARE) * (1 - DEAD - HANGING)
    seconds = np.minimum(documents, DOCUMENTS_PER_SHARD) * IMAGES_PER_DOCUMENT * spacing * responds
    return min(float(seconds.max()), 2 * SHARD_SECONDS), len(found)


def test_all_sites_together_have_all_documents(bounds: np.ndarray) -> None:
    assert bounds[-1] == pytest.approx(DOCUMENTS, rel=1e-6)


@pytest.mark.parametrize("crawl_delays", [0.0, 0.05, 0.5])
def test_the_slowest_host_is_the_mean_of_many_draws(bounds: np.ndarray, crawl_delays: float) -> None:
    drawn, sites = zip(*(slowest_host(bounds, crawl_delays, seed) for seed in range(20)), strict=True)
    assert group_seconds(DRAWN / DOCUMENTS_PER_SHARD, DRAWN, crawl_delays) == pytest.approx(mean(drawn), rel=0.25)
    assert sites_with(DRAWN) == pytest.approx(mean(sites), rel=0.01)


@pytest.mark.parametrize(
    ("shards", "crawl_delays", "images_per_second"), [(24, 0, 110), (64, 0, 278), (24, 0.05, 24), (64, 0.05, 65)]
)
def test_it_is_within_twice_the_recorded_simulation(shards: int, crawl_delays: float, images_per_second: float) -> None:
    estimated = shards * DOCUMENTS_PER_SHARD * IMAGES_PER_DOCUMENT / group_seconds(shards, DOCUMENTS, crawl_delays)
    assert 1 / 2 < estimated / images_per_second < 2  # docs/performance.md


def test_more_shards_at_a_time_are_faster_per_shard() -> None:
    per_shard = [group_seconds(shards, DOCUMENTS, 0.05) / shards for shards in (1, 8, 64)]
    assert per_shard == sorted(per_shard, reverse=True)


def test_no_group_takes_longer_than_its_shards_have_time() -> None:
    assert group_seconds(64, DOCUMENTS, 1.0, links=100) == pytest.approx(2 * SHARD_SECONDS, rel=0.01)


def test_the_largest_site_has_a_share_of_the_documents() -> None:
    assert largest_site_seconds(1_000_000) == pytest.approx(2_002 * IMAGES_PER_DOCUMENT * 0.25, rel=0.01)
