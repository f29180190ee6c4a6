"""Fetches and measures the images of shards of sites, many shards at a time, then decides which to score."""

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby
from os import cpu_count
from typing import Protocol
from urllib.parse import urldefrag

from mmc4_pipeline import storage
from mmc4_pipeline.apply_filters import Candidate, Learned, apply_filters
from mmc4_pipeline.images.faces import FaceDetector
from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageRequest
from mmc4_pipeline.images.fetching.session import FetchSession, shared_session
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.measure import Measurer, unmeasured
from mmc4_pipeline.images.spool import Spool
from mmc4_pipeline.naming import image_name
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.tar import add_file, open_tar
from schemas.image import Image
from schemas.manifest import WrittenFile
from schemas.page import ImageLink, Page
from schemas.reasons import Drop, Reason, Stage

MAX_IN_FLIGHT = 64  # shards of a process; each has its images in a temporary file
_MAX_WAITING = 250_000  # images of the shards in flight; above that, no other shard is begun
_PASSES = 2  # the second one fetches the images that remained when the shard's time was over


@dataclass(frozen=True, slots=True)
class FetchedShard:
    """The result of fetching a shard: its image rows in document order, and the tar with the images."""

    images: list[Image]
    tar: WrittenFile


class ImageSource(Protocol):
    """A source of images other than our own fetcher."""

    def fetch(self, requests: Sequence[ImageRequest]) -> Iterator[FetchResult]:
        """Yield one result for each request, with the request's URL, in any order; a body need not be an image."""


@dataclass(frozen=True)
class ShardToFetch:
    """A shard of pages, how its images are measured, and the path of the tar that they go to.

    With a detector, faces are detected in the images that are stored. `denies` returns whether a URL must not be
    requested although a redirect leads to it. `begun` is when this was made, by the monotonic clock.
    """

    number: int
    read_pages: Callable[[], list[Page]]
    recipe: Recipe
    tar_path: str
    detector: FaceDetector | None = None
    denies: Callable[[str], bool] = lambda _url: False
    begun: float = field(default_factory=time.monotonic)

    def write(self, spool: Spool, measured: Mapping[str, Image]) -> FetchedShard:
        """Write the tar and return the rows; `measured` has the row of each image by URL, in document order."""
        with storage.write_atomically(self.tar_path) as writer:
            places = _write_tar(writer, spool, measured)
        # The pages are read again: while the shard was in flight, only their links were in memory.
        rows = [_row(page, link, measured, places) for page in self.read_pages() for link in wanted_links(page)]
        return FetchedShard(rows, storage.written(self.tar_path, writer))


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
            raise group.exceptions[0] from group


def fetch_from_source(shard: ShardToFetch, source: ImageSource) -> FetchedShard:
    """Take the images of a shard from another source, and measure them."""
    with tempfile.TemporaryFile() as file:
        measurer = Measurer(shard.recipe, shard.detector, shard.denies, Spool(file))
        requests = [request for request, _ in _requests(shard.read_pages())]
        found = _measure_results(source.fetch(requests), measurer)
        return shard.write(measurer.spool, {request.url: found[request.url] for request in requests})


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
    requests = await in_thread(session.files, lambda: _requests(shard.read_pages()))
    waiting.add(len(requests))
    try:
        with tempfile.TemporaryFile() as file:
            measurer = Measurer(shard.recipe, shard.detector, shard.denies, Spool(file))
            jobs = [_Job(request, site, measurer, session.decoders) for request, site in requests]
            remaining = jobs
            for _ in range(_PASSES):
                await session.fetch_loop.fetch_all(remaining, seconds)
                remaining = [job for job in remaining if job.image.reason == Reason.DEFERRED]
            measured = {job.request.url: job.image for job in jobs}
            fetched = await in_thread(session.files, shard.write, measurer.spool, measured)
        await in_thread(session.files, finish, shard, fetched)
    finally:
        waiting.add(-len(requests), -1)


def wanted_links(page: Page) -> Iterator[ImageLink]:
    """Yield the links of a page that no link filter dropped."""
    return (link for link in page.links if link.reason is None)


def decide_shard(fetched: Sequence[Image], recipe: Recipe, learned: Learned) -> list[Image]:
    """Return the image rows with the decision of the images stage; `learned` is what the corpus filters learned."""
    filters = recipe.of_stage(Stage.IMAGES)
    decided: list[Image] = []
    for _, group in groupby(fetched, key=lambda image: image.key):
        images = list(group)
        drops = apply_filters([Candidate(image) for image in images], filters, learned)
        decided += [
            replace(image, reason=drop.reason, filter=drop.filter) if drop else image
            for image, drop in zip(images, drops, strict=True)
        ]
    return decided


def _requests(pages: Sequence[Page]) -> list[tuple[ImageRequest, str]]:
    """Return a request for each distinct image, and the site of the first page that shows it.

    A server never sees the part of a URL after "#".
    """
    distinct: dict[str, tuple[ImageRequest, str]] = {}
    for page in pages:
        for link in wanted_links(page):
            url = urldefrag(link.url)[0]
            distinct.setdefault(url, (ImageRequest(url, page.timestamp), page.site))
    return list(distinct.values())


@dataclass(slots=True)
class _Job:
    """Fetches one image: measures it in a decoding thread and spools the JPEG. `image` is its row when it is done.

    `measured` has the row for each URL from which a body was received; there are several if a route failed.
    """

    request: ImageRequest
    site: str
    measurer: Measurer
    threads: ThreadPoolExecutor
    measured: dict[str, Image] = field(default_factory=dict)
    image: Image = field(init=False)

    def denies(self, url: str) -> bool:
        return self.measurer.denies(url)

    def refuse(self, robots_tag: str) -> Drop | None:
        return self.measurer.decide(Image(key="", position=0, url="", robots_tag=robots_tag))

    async def receive(self, result: FetchResult) -> str | None:
        loop = asyncio.get_running_loop()
        image, jpeg = await loop.run_in_executor(self.threads, self.measurer.measure, result)
        self.measured[result.url] = image
        if jpeg is not None:
            self.measurer.spool.put(self.request.url, jpeg)
        return image.reason

    async def fetch(self, fetcher: Fetcher, deadline: float) -> None:
        """Fetch the image."""
        result = await fetcher.fetch(self.request, self, deadline)
        self.image = replace(self.measured.get(result.url) or unmeasured(result), url=self.request.url)


def _measure_results(results: Iterable[FetchResult], measurer: Measurer) -> dict[str, Image]:
    """Measure the results of another source on all cores and return the rows by URL.

    Only a few bodies are in memory at a time.
    """
    images: dict[str, Image] = {}
    pending: deque[Future[tuple[Image, bytes | None]]] = deque()

    def finish() -> None:
        image, jpeg = pending.popleft().result()
        images[image.url] = image
        if jpeg is not None:
            measurer.spool.put(image.url, jpeg)

    workers = cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        for result in results:
            if result.reason is not None:
                images[result.url] = unmeasured(result)
                continue
            pending.append(pool.submit(measurer.measure, result))
            if len(pending) > 2 * workers:
                finish()
        while pending:
            finish()
    return images


def _write_tar(
    writer: storage.HashingWriter, spool: Spool, measured: Mapping[str, Image]
) -> dict[str, tuple[int, int]]:
    """Write the spooled images in document order; return offset and length of each, by URL."""
    with open_tar(writer) as tar:
        return {url: (add_file(tar, image_name(url), jpeg), len(jpeg)) for url, jpeg in spool.take(iter(measured))}


def _row(page: Page, link: ImageLink, measured: Mapping[str, Image], places: Mapping[str, tuple[int, int]]) -> Image:
    """Return the row of one link, from the measurements of its image."""
    url = urldefrag(link.url)[0]
    offset, length = places.get(url, (None, None))
    return replace(measured[url], key=page.key, position=link.position, url=link.url, offset=offset, length=length)
