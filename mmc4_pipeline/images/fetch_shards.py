"""Fetches and measures the images of many shards at a time, and writes each shard when its last image is done.

Images that remain when the time of their shard is over are the backlog. It is worked through when all shards had their
time, by host instead of by shard.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from mmc4_pipeline.errors import PermanentReadError
from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageRequest
from mmc4_pipeline.images.fetching.session import FetchSession, shared_session
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.measure import Measurer, unmeasured
from mmc4_pipeline.images.partial_shards import Latest, write_deferred
from mmc4_pipeline.images.process_shard import FetchedShard, ShardToFetch
from schemas.image import Image
from schemas.reasons import Drop, Reason

MAX_IN_FLIGHT = 64  # shards of a process; each has its latest images in a temporary file
_MAX_WAITING = 250_000  # images of the shards in flight; above that, no other shard is begun


def fetch_shards(
    shards: Iterable[ShardToFetch], settings: FetchSettings, finish: Callable[[ShardToFetch, FetchedShard], None]
) -> list[int]:
    """Fetch each distinct image of each shard once, many shards at a time, and measure it.

    `finish` is called in some thread when a shard's last image is done. Return the numbers of the shards whose time was
    over before that; their results are stored. The first error ends all shards.
    """
    unfinished: list[int] = []

    async def fetch_one(shard: ShardToFetch, session: FetchSession, waiting: _Waiting) -> None:
        if not await _fetch_shard(shard, session, settings.shard_seconds, waiting, finish):
            unfinished.append(shard.number)

    async def fetch(session: FetchSession) -> None:
        waiting = _Waiting()
        async with asyncio.TaskGroup() as tasks:
            for shard in shards:
                await waiting.for_room()
                tasks.create_task(fetch_one(shard, session, waiting))

    _run(fetch, settings)
    return unfinished


def fetch_backlog(images: Sequence[tuple[ShardToFetch, ImageRequest, str]], settings: FetchSettings) -> None:
    """Fetch images of many shards, each with the site of its page, and store the results with those of their shards.

    What remains when the time of the backlog is over is stored as deferred.
    """

    async def fetch(session: FetchSession) -> None:
        with closing(Latest()) as latest:
            jobs = [
                _Job(request, site, shard.parts, shard.measurer, latest, session.decoders)
                for shard, request, site in images
            ]
            async with latest.saving(session.files):
                await session.fetch_loop.fetch_all(jobs, settings.backlog_seconds)
            await latest.save(session.files)
        deferred: dict[str, list[Image]] = defaultdict(list)
        for job in jobs:
            if job.deferred is not None:
                deferred[job.folder].append(job.deferred)
        await asyncio.gather(
            *(session.in_file_thread(write_deferred, folder, rows) for folder, rows in deferred.items())
        )

    _run(fetch, replace(settings, last_chance=True))


def _run(fetch: Callable[[FetchSession], Coroutine[Any, Any, None]], settings: FetchSettings) -> None:
    """Run in the process's session; an error is raised as it was in the first task that failed."""
    with shared_session(settings) as session:
        try:
            session.run(fetch(session))
        except ExceptionGroup as group:
            raise _first_error(group) from group


def _first_error(error: Exception) -> Exception:
    return _first_error(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


class _Waiting:
    """Counts the shards in flight and their unfinished images."""

    def __init__(self) -> None:
        self._shards = self._images = 0
        self._changed = asyncio.Event()

    async def for_room(self) -> None:
        """Wait until another shard may be begun, and count it."""
        while self._shards >= MAX_IN_FLIGHT or self._images >= _MAX_WAITING:
            self._changed.clear()
            await self._changed.wait()
        self._shards += 1
        await asyncio.sleep(0)  # lets the shard before count its images

    def add(self, images: int, shards: int = 0) -> None:
        """Count what was begun or, if negative, finished."""
        self._images += images
        self._shards += shards
        self._changed.set()


async def _fetch_shard(
    shard: ShardToFetch,
    session: FetchSession,
    seconds: float,
    waiting: _Waiting,
    finish: Callable[[ShardToFetch, FetchedShard], None],
) -> bool:
    """Fetch and write a shard; return False if images remain."""
    requests = await session.in_file_thread(shard.remaining)
    waiting.add(len(requests))
    try:
        with closing(Latest()) as latest:
            measurer = shard.measurer
            jobs = [_Job(*request, shard.parts, measurer, latest, session.decoders) for request in requests]
            async with latest.saving(session.files):
                await session.fetch_loop.fetch_all(jobs, seconds)
            if any(job.deferred is not None for job in jobs):
                await latest.save(session.files)
                return False
            try:
                fetched = await session.in_file_thread(shard.write, latest.batch)
            except PermanentReadError:
                if not await session.in_file_thread(shard.is_finished):
                    raise
                return True  # another worker has finished the shard, and removed the stored results
        await session.in_file_thread(finish, shard, fetched)
        return True
    finally:
        waiting.add(-len(requests), -1)


@dataclass(slots=True)
class _Job:
    """Fetches one image: measures it in a decoding thread and adds it to the latest results of the shard.

    `measured` has row and JPEG for each URL from which a body was received; there are several if a route failed.
    `deferred` is the row if the time was over before the image was fetched.
    """

    request: ImageRequest
    site: str
    folder: str
    measurer: Measurer
    latest: Latest
    threads: ThreadPoolExecutor
    measured: dict[str, tuple[Image, bytes | None]] = field(default_factory=dict)
    deferred: Image | None = None

    def denies(self, url: str) -> bool:
        return self.measurer.denies(url)

    def refuse(self, robots_tag: str, declarations: str) -> Drop | None:
        return self.measurer.decide(Image(key="", position=0, url="", robots_tag=robots_tag, declarations=declarations))

    async def receive(self, result: FetchResult) -> str | None:
        loop = asyncio.get_running_loop()
        image, jpeg = await loop.run_in_executor(self.threads, self.measurer.measure, result)
        self.measured[result.url] = image, jpeg
        return image.reason

    async def fetch(self, fetcher: Fetcher, deadline: float) -> None:
        """Fetch the image."""
        result = await fetcher.fetch(self.request, self, deadline)
        image, jpeg = self.measured.get(result.url, (unmeasured(result), None))
        self.measured.clear()
        image = replace(image, url=self.request.url)
        self.deferred = image if image.reason == Reason.DEFERRED else None
        if self.deferred is None:
            self.latest.add(self.folder, image, jpeg)
