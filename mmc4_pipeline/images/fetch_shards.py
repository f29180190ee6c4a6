"""Fetches and measures the images of many shards at a time, and writes each shard when its last image is done."""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace

from mmc4_pipeline.errors import PermanentReadError
from mmc4_pipeline.images.answers import Latest
from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageRequest
from mmc4_pipeline.images.fetching.session import FetchSession, shared_session
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.measure import Measurer, unmeasured
from mmc4_pipeline.images.process_shard import FetchedShard, ShardToFetch
from schemas.image import Image
from schemas.reasons import Drop, Reason

MAX_IN_FLIGHT = 64  # shards of a process; each has its latest images in a temporary file
_MAX_WAITING = 250_000  # images of the shards in flight; above that, no other shard is begun
_PASSES = 2  # the second one fetches the images that remained when the shard's time was over


def fetch_shards(
    shards: Iterable[ShardToFetch], settings: FetchSettings, finish: Callable[[ShardToFetch, FetchedShard], None]
) -> None:
    """Fetch each distinct image of each shard once, many shards at a time, and measure it.

    `finish` is called in some thread when a shard's last image is done. The first error ends all shards.
    """

    async def fetch(session: FetchSession) -> None:
        waiting = _Waiting()
        async with asyncio.TaskGroup() as tasks:
            for shard in shards:
                await waiting.for_room()
                tasks.create_task(_fetch_shard(shard, session, settings.shard_seconds, waiting, finish))

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
) -> None:
    in_thread = asyncio.get_running_loop().run_in_executor
    requests = await in_thread(session.files, shard.remaining)
    waiting.add(len(requests))
    try:
        with closing(Latest()) as latest:
            measurer = shard.measurer
            remaining = [_Job(*request, shard.parts, measurer, latest, session.decoders) for request in requests]
            async with latest.saving(session.files):
                for _ in range(_PASSES):
                    await session.fetch_loop.fetch_all(remaining, seconds)
                    remaining = [job for job in remaining if job.deferred is not None]
            for row in (job.deferred for job in remaining):
                if row is not None:
                    latest.add(shard.parts, row, None)
            try:
                fetched = await in_thread(session.files, shard.write, latest.batch)
            except PermanentReadError:
                if not await in_thread(session.files, shard.is_finished):
                    raise
                return  # another worker has finished the shard, and removed the stored answers
        await in_thread(session.files, finish, shard, fetched)
    finally:
        waiting.add(-len(requests), -1)


@dataclass(slots=True)
class _Job:
    """Fetches one image: measures it in a decoding thread and adds it to the latest answers of the shard.

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

    def refuse(self, robots_tag: str) -> Drop | None:
        return self.measurer.decide(Image(key="", position=0, url="", robots_tag=robots_tag))

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
