"""Simulates hours of fetching in seconds: the project's fetcher, queues and rate limits against a generated web.

    python benchmarks/crawl_simulation.py [--shards 64] [--links 300000]

The event loop's time is virtual: it advances only when everything waits. The HTTP client is replaced by a model of the
web; all else is what the images stage runs. Four cases: shards in flight without Crawl-delay, and with 5% of the hosts
having one; one large site whose images are on four hosts; 20 processes that share a host of 20 requests/s in all.

What is assumed about sites and hosts is in `mmc4_pipeline/estimate/web.py`, because `mmc4 plan` estimates with it, too;
`estimated_images_per_second` is what it says for the same number of shards in flight.
"""

import argparse
import asyncio
import json
import random
import resource
import selectors
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from mmc4_pipeline.estimate.host_limits import group_seconds
from mmc4_pipeline.estimate.web import (
    CRAWL_DELAYS,
    DEAD,
    DISTINCT,
    DOCUMENTS,
    HANGING,
    LATENCIES,
    LATENCY_SPREAD,
    LINKS_PER_DOCUMENT,
    MISSING,
    SHARED_SHARE,
    SITES,
    site_sizes,
)
from mmc4_pipeline.images.fetching.client import Held
from mmc4_pipeline.images.fetching.fetch_loop import FetchLoop
from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageRequest
from mmc4_pipeline.images.fetching.outcomes import Outcome, Target
from mmc4_pipeline.images.fetching.rate_limits import Hosts, Limits
from mmc4_pipeline.images.fetching.settings import FetchSettings
from schemas.reasons import Drop, Reason

Result = TypeVar("Result")
SETTINGS = FetchSettings(user_agent="simulation/1.0 (+https://example.org)", shard_seconds=7200.0)
MOMENT = datetime(2019, 4, 25, tzinfo=UTC)
# Hosts that serve images to the pages of many sites, and the percentage of all images on each; a quarter in all.
SHARED = {
    "i0.wp.com": 2.0, "i1.wp.com": 2.0, "i2.wp.com": 2.0, "1.bp.blogspot.com": 1.2, "2.bp.blogspot.com": 1.2,
    "3.bp.blogspot.com": 1.2, "4.bp.blogspot.com": 1.2, "cdn.shopify.com": 3.0, "images-na.ssl-images-amazon.com": 2.0,
    "static1.squarespace.com": 1.8, "static.wixstatic.com": 1.5, "s3.amazonaws.com": 1.5, "res.cloudinary.com": 0.7,
    "i.pinimg.com": 0.6, "lh3.googleusercontent.com": 0.8, "images.squarespace-cdn.com": 0.8,
    "upload.wikimedia.org": 0.5, "i.imgur.com": 0.4, "farm5.staticflickr.com": 0.3, "c1.staticflickr.com": 0.3,
}  # fmt: skip


class _VirtualTime(selectors.SelectSelector):
    """Waits for nothing: the time that the loop would have waited has passed at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += max(0.0, timeout or 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with virtual time."""

    def __init__(self) -> None:
        self._virtual = _VirtualTime()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual.now if hasattr(self, "_virtual") else 0.0


def run(coroutine: Coroutine[Any, Any, Result]) -> tuple[Result, float]:
    """Run in virtual time; return the result and the virtual seconds that it took."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(coroutine), loop.time()
    finally:
        loop.close()


@dataclass(slots=True)
class HostModel:
    """How a host behaves. `rate` is how many requests/s it serves; to others it responds with `refusal`."""

    latency: float = 0.3
    crawl_delay: int = 0
    kind: str = "ok"
    rate: float = inf
    retry_after: float = 0.0
    refusal: int = 429
    tokens: float = 1.0
    filled: float = 0.0
    served: int = 0
    refused: int = 0

    def admits(self, now: float) -> bool:
        """Return whether a request is served at this time (a token bucket with a second's worth of tokens)."""
        if self.rate == inf:
            return True
        self.tokens, self.filled = min(self.rate, self.tokens + (now - self.filled) * self.rate), now
        if self.tokens < 1:
            self.refused += 1
            return False
        self.tokens -= 1
        self.served += 1
        return True


@dataclass
class ModelledWeb:
    """Stands in for the HTTP client. Records the most requests that a host had open at a time."""

    hosts: dict[str, HostModel]
    random: random.Random
    open: Counter[str] = field(default_factory=Counter)
    most_open: Counter[str] = field(default_factory=Counter)
    sites: dict[str, int] = field(default_factory=dict)

    async def request(self, target: Target, url: str, _held: Held, _unread: Outcome | None = None) -> Outcome:
        """Respond as the host would."""
        parts = urlsplit(url)
        name, loop = parts.hostname or "", asyncio.get_running_loop()
        host = self.hosts.get(name) or HostModel()
        self.open[name] += 1
        self.most_open[name] = max(self.most_open[name], self.open[name])
        try:
            return await self._respond(host, target, parts.path, loop)
        finally:
            self.open[name] -= 1

    async def _respond(self, host: HostModel, target: Target, path: str, loop: asyncio.AbstractEventLoop) -> Outcome:
        empty = target.empty_result
        if host.kind == "dead":
            await asyncio.sleep(0.05)
            return Outcome(replace(empty, reason=Reason.HOST_UNAVAILABLE, error="no such name"), may_retry=True)
        if host.kind == "hanging":
            await asyncio.sleep(10.0)
            return Outcome(replace(empty, reason=Reason.TIMEOUT, error="timeout"), may_retry=True)
        admitted = path == "/robots.txt" or host.admits(loop.time())
        await asyncio.sleep(host.latency * self.random.lognormvariate(0, LATENCY_SPREAD))
        if not admitted:
            error = f"HTTP {host.refusal}"
            return Outcome(replace(empty, status=host.refusal, reason=Reason.HTTP_ERROR, error=error), host.retry_after)
        if path == "/robots.txt" and host.crawl_delay:
            body = f"User-agent: *\nCrawl-delay: {host.crawl_delay}\n".encode()
            return Outcome(replace(empty, status=200, body=body))
        missing = path == "/robots.txt" or (host.rate == inf and self.random.random() < MISSING)
        if missing:
            return Outcome(replace(empty, status=404, reason=Reason.HTTP_ERROR, error="HTTP 404"))
        return Outcome(replace(empty, status=200, body=b"x"))


@dataclass(slots=True)
class Job:
    """An image to fetch, and the reason for which it was dropped in the end."""

    request: ImageRequest
    site: str
    reason: str | None = None

    def denies(self, url: str) -> bool:
        """Deny nothing."""
        return False

    def refuse(self, robots_tag: str, declarations: str) -> Drop | None:
        """Refuse nothing."""

    async def receive(self, result: FetchResult) -> str | None:
        """Keep everything."""

    async def fetch(self, fetcher: Fetcher, deadline: float) -> None:
        """Fetch the image."""
        self.reason = (await fetcher.fetch(self.request, self, deadline)).reason


def shard(
    number: int, sizes: npt.NDArray[np.float64], crawl_delays: float, documents: int = 2000
) -> tuple[list[Job], dict[str, HostModel]]:
    """Return the links of a shard of sites, and their hosts. A site has its images itself or on one shared host."""
    draw, numbers = random.Random(number), np.random.default_rng(number)
    jobs: list[Job] = []
    hosts: dict[str, HostModel] = {}
    count = 0
    while count < documents:
        size = max(1, int(min(documents - count, sizes[numbers.integers(len(sizes))])))
        site = f"site{number}-{count}.example"
        count += size
        if draw.random() < SHARED_SHARE:
            name = draw.choices(list(SHARED), list(SHARED.values()))[0]
            hosts[name] = HostModel(latency=0.15)
        else:
            name, luck = site, draw.random()
            kind = "dead" if luck < DEAD else "hanging" if luck < DEAD + HANGING else "ok"
            delay = draw.choice(CRAWL_DELAYS) if draw.random() < crawl_delays else 0
            hosts[name] = HostModel(draw.choice(LATENCIES), delay, kind)
        links = numbers.binomial(int(size * LINKS_PER_DOCUMENT * 3), DISTINCT / 3)
        jobs += [Job(ImageRequest(f"http://{name}/{site}/{at}.jpg", MOMENT), site) for at in range(links)]
    return jobs, hosts


def open_fetcher(web: ModelledWeb, settings: FetchSettings = SETTINGS) -> Fetcher:
    """Return the project's fetcher over the modelled web."""
    limits = Limits(
        settings.max_open,
        settings.max_open_per_host,
        settings.max_open_per_shared_host,
        settings.delay_per_host,
        settings.last_chance,
    )
    return Fetcher(web, Hosts(limits), settings)  # type: ignore[arg-type]


async def fetch(loop: FetchLoop, jobs: list[Job], seconds: float, passes: int = 2) -> float:
    """Fetch a shard as the images stage does, what remains in the backlog; return when it was finished."""
    for _ in range(passes):
        await loop.fetch_all(jobs, seconds)
        jobs = [job for job in jobs if job.reason == Reason.DEFERRED]
    return asyncio.get_running_loop().time()


def in_flight(sizes: npt.NDArray[np.float64], shards: int, crawl_delays: float) -> dict[str, Any]:
    """Fetch many shards at a time in one process."""
    made = [shard(number, sizes, crawl_delays) for number in range(shards)]
    jobs = [job for of_shard, _ in made for job in of_shard]
    web = ModelledWeb({name: host for _, hosts in made for name, host in hosts.items()}, random.Random(0))

    async def main() -> list[float]:
        loop = FetchLoop(open_fetcher(web))
        return await asyncio.gather(*(fetch(loop, of_shard, SETTINGS.shard_seconds) for of_shard, _ in made))

    started = time.process_time()
    finished, seconds = run(main())
    estimated = len(jobs) / group_seconds(shards, DOCUMENTS, crawl_delays)
    own = [most for name, most in web.most_open.items() if name not in SHARED]
    return {
        "images": len(jobs),
        "seconds": round(seconds),
        "images_per_second": round(len(jobs) / seconds, 1),
        "estimated_images_per_second": round(estimated, 1),
        "half_of_the_shards_after": round(float(np.median(finished))),
        "deferred": sum(job.reason == Reason.DEFERRED for job in jobs),
        "most_open_at_a_site": max(own),
        "most_open_at_a_shared_host": max(web.most_open[name] for name in SHARED),
        "cpu_seconds": round(time.process_time() - started, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def large_site(links: int) -> dict[str, Any]:
    """Fetch one site whose images are on four hosts."""
    names = [f"img{number}.large.example" for number in range(4)]
    web = ModelledWeb({name: HostModel() for name in names}, random.Random(0))
    jobs = [Job(ImageRequest(f"http://{names[at % 4]}/{at}.jpg", MOMENT), "large.example") for at in range(links)]

    async def main() -> float:
        return await fetch(FetchLoop(open_fetcher(web)), jobs, inf)

    _, seconds = run(main())
    return {
        "images": links,
        "hours": round(seconds / 3600, 1),
        "deferred": sum(job.reason == Reason.DEFERRED for job in jobs),
        "most_open": max(web.most_open.values()),
    }


def busy_host(
    loops: int = 20, images: int = 40, rate: float = 20.0, retry_after: float = 30.0, refusal: int = 429
) -> dict[str, Any]:
    """Let many processes share a host that serves only a few requests/s in all."""
    host = HostModel(latency=0.05, rate=rate, retry_after=retry_after, refusal=refusal)
    web = ModelledWeb({"busy.example": host}, random.Random(0))
    jobs = [
        [Job(ImageRequest(f"http://busy.example/{loop}/{at}.jpg", MOMENT), "busy.example") for at in range(images)]
        for loop in range(loops)
    ]

    async def main() -> None:
        loops_ = [FetchLoop(open_fetcher(web)) for _ in jobs]
        await asyncio.gather(*(fetch(loop, of_loop, 7200.0) for loop, of_loop in zip(loops_, jobs, strict=True)))

    _, seconds = run(main())
    lost = sum(job.reason is not None for of_loop in jobs for job in of_loop)
    return {
        "images": loops * images,
        "lost": lost,
        "seconds": round(seconds),
        "requests_per_served": round((host.served + host.refused) / host.served, 2),
    }


def cases(shards: int, links: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and figures of each case."""
    sizes = site_sizes(np.arange(1, SITES + 1, dtype=float))
    yield "no_crawl_delay", in_flight(sizes, shards, 0.0)
    yield "5_percent_crawl_delay", in_flight(sizes, shards, 0.05)
    yield "large_site", large_site(links)
    for refusal in (429, 503):
        for retry_after in (30.0, 1.0, 0.0):
            figures = busy_host(retry_after=retry_after, refusal=refusal)
            yield f"busy_host_{refusal}_retry_after_{retry_after:.0f}", figures


def main() -> None:
    """Print the figures of each case, then all of them as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=64, help="shards in flight (default: 64, as in the images stage)")
    parser.add_argument("--links", type=int, default=300_000, help="images of the large site (default: 300000)")
    arguments = parser.parse_args()
    found = {}
    for name, figures in cases(arguments.shards, arguments.links):
        print(name, figures, flush=True)
        found[name] = figures
    print(json.dumps(found))


if __name__ == "__main__":
    main()
