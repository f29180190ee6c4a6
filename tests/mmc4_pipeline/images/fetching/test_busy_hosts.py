"""Hosts that push back, and addresses that are broken, in virtual time."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from benchmarks.crawl_simulation import MOMENT, SETTINGS, HostModel, Job, ModelledWeb, open_fetcher, run
from mmc4_pipeline.images.fetching.fetch_loop import FetchLoop
from mmc4_pipeline.images.fetching.interface import ImageRequest
from mmc4_pipeline.images.fetching.outcomes import Outcome, Target
from schemas.reasons import Reason

GOOD, BUSY, UNAVAILABLE, BROKEN_OFF = 200, 429, 503, 0


@dataclass
class Answering(ModelledWeb):
    """A web whose responses are those of a function of path, number of the request for it, and seconds."""

    answer: Callable[[str, int, float], int] = lambda *_: GOOD
    retry_after: float = 0.0
    starts: dict[str, list[float]] = field(default_factory=dict)

    async def _respond(self, host: HostModel, target: Target, path: str, loop: asyncio.AbstractEventLoop) -> Outcome:
        empty = target.empty_result
        if path == "/robots.txt":
            return Outcome(msgspec.structs.replace(empty, status=404, reason=Reason.HTTP_ERROR))
        times = self.starts.setdefault(path, [])
        times.append(loop.time())
        status = self.answer(path, len(times), loop.time())
        await asyncio.sleep(0.1)
        if status == GOOD:
            return Outcome(msgspec.structs.replace(empty, status=status, body=b"x"))
        if status == BROKEN_OFF:
            return Outcome(msgspec.structs.replace(empty, reason=Reason.CORRUPT, error="broke off"), may_retry=True)
        result = msgspec.structs.replace(empty, status=status, reason=Reason.HTTP_ERROR, error=f"HTTP {status}")
        return Outcome(result, pushback=self.retry_after)


def fetched(
    paths: list[str],
    answer: Callable[[str, int, float], int],
    *,
    retry_after: float = 0.0,
    last_chance: bool = False,
    seconds: float = 7200.0,
    again_after: float | None = None,
) -> tuple[Counter[str | None], Answering, float]:
    """Fetch paths of one host; return how many ended for which reason, the web, and when that was.

    What is deferred is fetched once more after some seconds.
    """
    web = Answering({}, random.Random(0), answer=answer, retry_after=retry_after)
    jobs = [Job(ImageRequest(f"http://a.example{path}", MOMENT), "a.example") for path in paths]

    async def main() -> None:
        loop = FetchLoop(open_fetcher(web, replace(SETTINGS, last_chance=last_chance)))
        await loop.fetch_all(jobs, seconds)
        if again_after is not None:
            await asyncio.sleep(again_after)
            await loop.fetch_all([job for job in jobs if job.reason == Reason.DEFERRED], seconds)

    _, end = run(main())
    return Counter(job.reason for job in jobs), web, end


def names(count: int, kind: str = "good") -> list[str]:
    return [f"/{kind}/{number}.jpg" for number in range(count)]


def broken(path: str, _count: int, _now: float) -> int:
    return UNAVAILABLE if path.startswith("/broken/") else GOOD


@pytest.mark.parametrize("retry_after", [0.0, 1.0])
@pytest.mark.parametrize(("good", "bad"), [(0, 1), (1, 1), (40, 1), (200, 5)])
def test_a_broken_address_is_dropped_after_a_few_tries_and_no_other(good: int, bad: int, retry_after: float) -> None:
    paths = [*names(good), *names(bad, "broken")]
    random.Random(0).shuffle(paths)
    reasons, web, end = fetched(paths, broken, retry_after=retry_after)
    assert reasons == Counter({None: good, Reason.HTTP_ERROR: bad})
    assert {len(times) for path, times in web.starts.items() if "/good/" in path} <= {1}
    assert max(len(times) for times in web.starts.values()) < 10
    assert end < 60 + good


def test_no_image_of_a_host_that_is_unavailable_for_a_while_is_lost() -> None:
    reasons, web, _ = fetched(names(50), lambda _path, _count, now: UNAVAILABLE if 1 < now < 60 else GOOD)
    assert reasons == {None: 50}
    assert sum(map(len, web.starts.values())) < 65


def test_a_host_that_refuses_at_random_loses_nothing() -> None:
    draw = random.Random(0)
    reasons, _, _ = fetched(names(500), lambda *_: UNAVAILABLE if draw.random() < 0.5 else GOOD, seconds=1e6)
    assert reasons[None] + reasons[Reason.DEFERRED] == 500
    assert reasons[None] > 490


@pytest.mark.parametrize(
    ("status", "last_chance", "reason"),
    [
        (UNAVAILABLE, False, Reason.DEFERRED),
        (UNAVAILABLE, True, Reason.HOST_UNAVAILABLE),
        (BUSY, False, Reason.DEFERRED),
        (BUSY, True, Reason.DEFERRED),
    ],
)
def test_only_a_host_that_never_responds_with_anything_but_503_is_given_up_at_the_last_chance(
    status: int, reason: Reason, *, last_chance: bool
) -> None:
    reasons, web, end = fetched(names(40), lambda *_: status, last_chance=last_chance)
    assert reasons == {reason: 40}
    assert sum(map(len, web.starts.values())) < 20
    assert end < 600


def test_a_host_that_wants_a_day_is_left_alone_for_a_day() -> None:
    def tomorrow(_path: str, _count: int, now: float) -> int:
        return GOOD if now > 86400 else UNAVAILABLE

    for again_after, reason, requests in ((7200.0, Reason.DEFERRED, 1), (86400.0, None, 2)):
        reasons, web, _ = fetched(["/a.jpg"], tomorrow, retry_after=86400.0, again_after=again_after)
        assert (reasons, len(web.starts["/a.jpg"])) == ({reason: 1}, requests)


def test_a_host_that_breaks_connections_is_slowed_down() -> None:
    def gap(answer: Callable[[str, int, float], int]) -> float:
        _, web, _ = fetched(names(12), answer)
        times = sorted(time for of_path in web.starts.values() for time in of_path)
        return min(later - earlier for earlier, later in zip(times[-6:], times[-5:], strict=False))

    assert gap(lambda *_: GOOD) == pytest.approx(0.25)
    assert gap(lambda _path, count, _now: GOOD if count > 2 else BROKEN_OFF) > 0.4
