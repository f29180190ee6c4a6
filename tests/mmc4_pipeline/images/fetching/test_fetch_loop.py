"""Many shards in flight over a modelled web in virtual time: limits hold for the process, and nothing is lost."""

import asyncio
import random

import numpy as np
import pytest

from benchmarks.crawl_simulation import (
    MOMENT,
    HostModel,
    Job,
    ModelledWeb,
    busy_host,
    fetch,
    in_flight,
    large_site,
    open_fetcher,
    run,
)
from mmc4_pipeline.images.fetching.fetch_loop import FetchLoop
from mmc4_pipeline.images.fetching.interface import ImageRequest
from mmc4_pipeline.images.fetching.outcomes import Outcome, Target
from schemas.reasons import Reason


def jobs_of(host: str, site: str, count: int) -> list[Job]:
    return [Job(ImageRequest(f"http://{host}/{site}/{number}.jpg", MOMENT), site) for number in range(count)]


def fetched(shards: list[list[Job]], seconds: float = 7200.0) -> tuple[ModelledWeb, list[float]]:
    """Fetch shards together; return the web as it was left and when each shard was finished."""
    web = ModelledWeb({}, random.Random(0))

    async def main() -> list[float]:
        loop = FetchLoop(open_fetcher(web))
        return await asyncio.gather(*(fetch(loop, shard, seconds) for shard in shards))

    return web, run(main())[0]


def test_shards_in_flight_share_the_limits_of_a_host() -> None:
    shards = [jobs_of("a.example", "a.example", 20) for _ in range(10)]
    web, finished = fetched(shards)
    assert web.most_open["a.example"] <= 4
    assert max(finished) >= 199 * 0.25  # one request in each quarter of a second, whatever the shard


@pytest.mark.parametrize(("sites", "limit"), [(1, 4), (3, 12), (100, 32)])
def test_a_host_of_many_sites_has_the_slots_of_each_up_to_a_limit(sites: int, limit: int) -> None:
    shard = [job for number in range(sites) for job in jobs_of("cdn.example", f"site{number}.example", 600 // sites)]
    random.Random(0).shuffle(shard)
    web, (finished,) = fetched([shard])
    assert web.most_open["cdn.example"] <= limit
    assert finished == pytest.approx(600 / limit, rel=0.1)  # a slot starts one request per second


def test_the_subdomains_of_a_provider_do_not_add_up() -> None:
    open_now: list[int] = []

    class Watched(ModelledWeb):
        async def _respond(self, host: HostModel, *rest: object) -> object:
            open_now.append(self.open.total())
            return await super()._respond(host, *rest)  # type: ignore[arg-type]

    web = Watched({}, random.Random(0))
    shard = [job for number in range(500) for job in jobs_of(f"s{number}.provider.com", f"s{number}.provider.com", 4)]
    run(fetch(FetchLoop(open_fetcher(web)), shard, 7200.0))
    assert max(open_now) <= 32


def test_a_shard_is_finished_when_its_own_last_image_is_done() -> None:
    _, (slow, quick) = fetched([jobs_of("slow.example", "slow.example", 400), jobs_of("b.example", "b.example", 4)])
    assert quick < 5
    assert slow > 90


def test_a_slow_image_does_not_hold_up_another_shard_with_images_of_the_same_host() -> None:
    class SlowPath(ModelledWeb):
        async def _respond(
            self, host: HostModel, target: Target, path: str, loop: asyncio.AbstractEventLoop
        ) -> Outcome:
            if path.startswith("/slow/"):
                await asyncio.sleep(1000)
            return await super()._respond(host, target, path, loop)

    async def main() -> tuple[float, float]:
        loop = FetchLoop(open_fetcher(SlowPath({}, random.Random(0))))
        slow = asyncio.create_task(fetch(loop, jobs_of("a.example", "slow", 1), 7200.0))
        await asyncio.sleep(60)  # its only task is busy, and nothing waits
        quick = [await fetch(loop, jobs_of("a.example", "quick", 1), 7200.0) for _ in range(3)]
        return quick[-1], await slow

    (quick, slow), _ = run(main())
    assert quick < 70
    assert slow > 1000


def test_images_that_remain_in_the_backlog_are_deferred() -> None:
    shard = jobs_of("slow.example", "slow.example", 400)
    _, (finished,) = fetched([shard], seconds=20.0)
    deferred = sum(job.reason == Reason.DEFERRED for job in shard)
    assert finished < 45
    assert deferred == pytest.approx(400 - 2 * 20 / 0.25, abs=10)


@pytest.mark.parametrize("refusal", [429, 503])
@pytest.mark.parametrize("retry_after", [0.0, 1.0, 30.0])
def test_a_busy_host_loses_nothing_and_gets_few_requests_in_vain(refusal: int, retry_after: float) -> None:
    figures = busy_host(retry_after=retry_after, refusal=refusal)
    assert figures["lost"] == 0
    assert figures["requests_per_served"] <= 1.3


def test_every_image_of_a_large_site_is_requested_in_the_end() -> None:
    figures = large_site(5000)
    assert (figures["deferred"], figures["most_open"]) == (0, 4)


def test_no_host_is_above_its_limit_with_several_shards_of_all_kinds_of_hosts() -> None:
    figures = in_flight(np.array([1000.0, 300, 100, 30, 10, 3, 1, 1, 1]), shards=3, crawl_delays=0.2)
    assert figures["deferred"] == 0
    assert figures["most_open_at_a_site"] <= 4
    assert figures["most_open_at_a_shared_host"] <= 32


def test_an_error_in_one_job_ends_its_shard_and_no_other() -> None:
    class Broken(Job):
        async def fetch(self, fetcher: object, deadline: float) -> None:
            raise ZeroDivisionError

    good = jobs_of("a.example", "a.example", 5)
    bad = [Broken(job.request, job.site) for job in jobs_of("a.example", "a.example", 2)]

    async def main() -> list[object]:
        loop = FetchLoop(open_fetcher(ModelledWeb({}, random.Random(0))))
        return await asyncio.gather(*(fetch(loop, shard, 60.0) for shard in (bad, good)), return_exceptions=True)

    error, finished = run(main())[0]
    assert isinstance(error, ZeroDivisionError)
    assert isinstance(finished, float)
    assert {job.reason for job in good} <= {None, Reason.HTTP_ERROR}
