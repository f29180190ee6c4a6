"""The estimate of fetching, scoring and cutting: planted numbers, and relations that must hold."""

from dataclasses import replace

import pytest

from mmc4_pipeline.estimate.corpus import Corpus
from mmc4_pipeline.estimate.estimate import (
    FETCH_SECONDS,
    WRITE_SECONDS,
    ScoreSpeeds,
    Speeds,
    cut_needs,
    images_needs,
    score_needs,
)
from mmc4_pipeline.estimate.needs import Needs, Prices, Resources, Work, total

SPEEDS = Speeds(0.01, 1e6, 2e6, 1e4, images_decoded_per_second=50)
SCORE = ScoreSpeeds(images_per_second=4, sentences_per_second=80)
PRICES = Prices(core_hour=1.0, gpu_hour=7.0, gigabyte=100.0, million_requests=100.0, stored_gigabyte_month=1.0)
AMPLE = Resources(workers=2, bytes_per_second=1e15, requests_per_second=1e-9)
ONE_FILE = 356_317


def later(documents: int, resources: Resources, crawl_delays: float = 0.05) -> list[Needs]:
    """Return the needs of the last three stages."""
    corpus = Corpus(documents, 1000)
    return [
        images_needs(corpus, SPEEDS, crawl_delays, resources, PRICES),
        score_needs(corpus, SCORE, resources, PRICES),
        cut_needs(corpus, resources, PRICES),
    ]


def test_images_become_fewer_from_stage_to_stage() -> None:
    corpus = Corpus(ONE_FILE, 1000)
    numbers = [corpus.distinct, corpus.bodies, corpus.received, corpus.scored, corpus.published, 0]
    assert numbers == sorted(numbers, reverse=True)
    assert corpus.distinct < corpus.requests < corpus.distinct + corpus.documents  # robots.txt of each site


def test_all_of_c4_is_near_the_published_numbers_of_mmc4() -> None:
    corpus = Corpus(365_000_000, 1000)
    assert 0.5 < corpus.received / 1.37e9 < 1  # of the images that MMC4 received in 2022 many are gone
    assert 0.5 < corpus.published / 571e6 < 1
    assert corpus.sentences / 115e6 == pytest.approx(19, abs=1)


def test_twice_the_documents_are_twice_the_bytes() -> None:
    for one, two in zip(later(ONE_FILE, AMPLE), later(2 * ONE_FILE, AMPLE), strict=True):
        assert two.read == pytest.approx(2 * one.read, rel=0.001)
        assert two.stored == pytest.approx(2 * one.stored, rel=0.001)
        assert two.core_hours == pytest.approx(2 * one.core_hours, rel=0.05)  # twice the documents have fewer new sites


def test_twice_the_links_are_twice_the_images() -> None:
    one, two = Corpus(ONE_FILE, 1000, 2.0), Corpus(ONE_FILE, 1000, 4.0)
    assert (two.distinct, two.scored, two.published) == (2 * one.distinct, 2 * one.scored, 2 * one.published)


@pytest.mark.parametrize("documents", [10_000, ONE_FILE, 365_000_000])
@pytest.mark.parametrize("crawl_delays", [0.0, 0.05])
def test_more_workers_never_take_longer(documents: int, crawl_delays: float) -> None:
    hours = [[item.hours for item in later(documents, replace(AMPLE, workers=n), crawl_delays)] for n in (1, 4, 16, 64)]
    for stage in zip(*hours, strict=True):
        assert list(stage) == sorted(stage, reverse=True)
        assert stage[0] > stage[-1]


def test_crawl_delays_take_time_but_no_work() -> None:
    without, with_some = (later(ONE_FILE, replace(AMPLE, workers=64), share)[0] for share in (0.0, 0.05))
    assert with_some.hours > without.hours
    assert with_some.limit == "hosts"
    assert (with_some.core_hours, with_some.requests) == (without.core_hours, without.requests)


def test_fetching_and_decoding_use_the_cores() -> None:
    corpus = Corpus(ONE_FILE, 1000)
    slow = replace(SPEEDS, images_decoded_per_second=0.5)
    images = images_needs(corpus, slow, 0.0, AMPLE, PRICES)
    seconds = corpus.requests * FETCH_SECONDS + corpus.received / 0.5
    assert images.limit == "cores"
    assert images.hours == pytest.approx(seconds / 2 / 3600)
    assert images.dollars == pytest.approx(images.hours * 2 * PRICES.core_hour)  # only Common Crawl's bytes cost


def test_the_network_carries_both_ways_at_a_time() -> None:
    images, _, cut = later(ONE_FILE, replace(AMPLE, bytes_per_second=100.0))
    assert (images.limit, cut.limit) == ("network", "network")
    assert images.hours == pytest.approx(images.read / 100 / 3600)
    assert cut.hours == pytest.approx(cut.stored / 100 / 3600)


@pytest.mark.parametrize(("gpus", "limit"), [(0, "cores"), (4, "GPUs")])
def test_scoring_takes_the_given_speeds(gpus: int, limit: str) -> None:
    corpus, resources = Corpus(ONE_FILE, 1000), replace(AMPLE, gpus=gpus)
    score = score_needs(corpus, SCORE, resources, PRICES)
    hours = (corpus.scored / 4 + corpus.sentences / 80) / 3600
    assert score.limit == limit
    assert (score.gpu_hours if gpus else score.core_hours) == pytest.approx(hours)
    assert score.hours == pytest.approx(hours / (gpus or resources.workers))
    assert score.dollars == pytest.approx(hours * (PRICES.gpu_hour if gpus else PRICES.core_hour))


def test_cutting_writes_the_images_in_base64() -> None:
    corpus = Corpus(ONE_FILE, 80_000)
    cut = cut_needs(corpus, AMPLE, PRICES)
    assert cut.read == pytest.approx(corpus.published * 80_000)
    assert 4 / 3 < cut.stored / cut.read < 1.4
    assert cut.core_hours == pytest.approx(corpus.published * WRITE_SECONDS / 3600)


def test_the_total_adds_up() -> None:
    stages = later(ONE_FILE, replace(AMPLE, gpus=1))
    everything = total(stages)
    for name in ("requests", "read", "stored", "core_hours", "gpu_hours", "hours", "dollars"):
        assert getattr(everything, name) == sum(getattr(item, name) for item in stages)
    assert everything.temporary == max(item.temporary for item in stages) > 0
    assert everything.limit == max(stages, key=lambda item: item.hours).stage


def test_the_longest_wait_is_the_limit() -> None:
    work = Work(requests=5, core_seconds=30, waits={"one": 40, "other": 70})
    needs = Needs.of("stage", "", work, Resources(1, 1e9, 1e-9), PRICES)
    assert (needs.limit, needs.hours) == ("other", pytest.approx(70 / 3600))
