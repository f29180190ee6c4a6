"""Fetches and measures the images of one shard of sites, then decides which of them are worth scoring."""

import asyncio
import hashlib
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from os import cpu_count
from typing import Protocol
from urllib.parse import urldefrag

from filters.base import ImageFilter
from mmc4_pipeline import storage
from mmc4_pipeline.apply_filters import Candidate, Learned, apply_filters
from mmc4_pipeline.images.decoding.decode import decode
from mmc4_pipeline.images.decoding.header import Undecodable
from mmc4_pipeline.images.faces import FaceDetector
from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageRequest
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.spool import Spool
from mmc4_pipeline.naming import image_name
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.tar import add_file, open_tar
from schemas.image import Image
from schemas.manifest import WrittenFile
from schemas.page import ImageLink, Page
from schemas.reasons import Drop, Reason, Stage

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


def fetch_shard(
    pages: Sequence[Page],
    recipe: Recipe,
    settings: FetchSettings,
    tar_path: str,
    *,
    detector: FaceDetector | None = None,
    denies: Callable[[str], bool] = lambda _url: False,
    source: ImageSource | None = None,
) -> FetchedShard:
    """Fetch each distinct image of the pages once, measure it, and write the images worth keeping to a tar.

    With a detector, faces are detected in the images that are written. `denies` returns whether a URL must not be
    requested although a redirect leads to it. With a `source`, the images come from there and `settings` are not used.
    """
    with tempfile.TemporaryFile() as file:
        shard = _Shard(recipe, detector, denies, Spool(file))
        requests = _requests(pages)
        if source is None:
            measured = asyncio.run(_fetch_and_measure(requests, settings, shard))
        else:
            found = _measure_results(source.fetch(requests), shard)
            measured = {request.url: found[request.url] for request in requests}
        with storage.write_atomically(tar_path) as writer:
            places = _write_tar(writer, shard.spool, measured)
    images = [_row(page, link, measured, places) for page in pages for link in wanted_links(page)]
    return FetchedShard(images, storage.written(tar_path, writer))


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


def _requests(pages: Sequence[Page]) -> list[ImageRequest]:
    """Return one request for each distinct image; a server never sees the part of a URL after "#"."""
    distinct: dict[str, datetime] = {}
    for page in pages:
        for link in wanted_links(page):
            distinct.setdefault(urldefrag(link.url)[0], page.timestamp)
    return [ImageRequest(url, timestamp) for url, timestamp in distinct.items()]


@dataclass(frozen=True)
class _Shard:
    """Everything needed to measure the images of a shard, and the spool for those worth keeping."""

    recipe: Recipe
    detector: FaceDetector | None
    denies: Callable[[str], bool]
    spool: Spool

    def decide(self, image: Image) -> Drop | None:
        """Return the decision of the filters that look at one image alone."""
        return apply_filters([Candidate(image)], self.recipe.of_kind(ImageFilter), {})[0]

    def measure(self, result: FetchResult) -> tuple[Image, bytes | None]:
        """Decode a body once; return its row and, if the image is worth keeping, the JPEG to store."""
        sha256 = result.sha256 or hashlib.sha256(result.body).hexdigest()
        received = replace(_unmeasured(result), sha256=sha256, byte_size=len(result.body))
        decoded = decode(result.body, self.recipe.images)
        if isinstance(decoded, Undecodable):
            return replace(received, reason=decoded.reason, error=decoded.error), None
        width, height = decoded.width, decoded.height
        if result.size is not None and set(result.size) != {width, height}:  # otherwise the same, or turned upright
            width, height = result.size
        image = replace(received, format=decoded.format, width=width, height=height, phash=decoded.phash)
        if self.decide(image) is not None:
            return image, None
        faces = self.detector.detect(decoded.pixels) if self.detector else None
        return replace(image, face_detections=faces), decoded.jpeg


@dataclass(frozen=True)
class _Handler:
    """Receives one image from the fetcher: measures it in a decoding thread and spools the JPEG.

    `measured` has the image row for each URL from which a body was received; there are several if a route failed.
    """

    request: ImageRequest
    shard: _Shard
    threads: ThreadPoolExecutor
    measured: dict[str, Image] = field(default_factory=dict)

    def denies(self, url: str) -> bool:
        return self.shard.denies(url)

    def refuse(self, robots_tag: str) -> Drop | None:
        return self.shard.decide(Image(key="", position=0, url="", robots_tag=robots_tag))

    async def receive(self, result: FetchResult) -> str | None:
        loop = asyncio.get_running_loop()
        image, jpeg = await loop.run_in_executor(self.threads, self.shard.measure, result)
        self.measured[result.url] = image
        if jpeg is not None:
            self.shard.spool.put(self.request.url, jpeg)
        return image.reason

    async def fetch(self, fetcher: Fetcher) -> Image:
        """Fetch the image and return its row, without key and position."""
        result = await fetcher.fetch(self.request, self)
        return replace(self.measured.get(result.url) or _unmeasured(result), url=self.request.url)


async def _fetch_and_measure(
    requests: Sequence[ImageRequest], settings: FetchSettings, shard: _Shard
) -> dict[str, Image]:
    """Fetch all images concurrently and return their rows by URL.

    The images that remain when the shard's time is over get a last pass.
    """
    images: dict[str, Image] = {}
    with ThreadPoolExecutor(cpu_count(), "decode") as threads:  # not the event loop's own threads, which look up names
        async with Fetcher.open(settings) as fetcher:
            remaining = requests
            for _ in range(_PASSES):
                fetcher.set_time_limit(settings.shard_seconds)
                found = await asyncio.gather(*(_Handler(item, shard, threads).fetch(fetcher) for item in remaining))
                images |= {image.url: image for image in found}
                remaining = [request for request in remaining if images[request.url].reason == Reason.DEFERRED]
    return images


def _measure_results(results: Iterable[FetchResult], shard: _Shard) -> dict[str, Image]:
    """Measure the results of another source on all cores and return the rows by URL.

    Only a few bodies are in memory at a time.
    """
    images: dict[str, Image] = {}
    pending: deque[Future[tuple[Image, bytes | None]]] = deque()

    def finish() -> None:
        image, jpeg = pending.popleft().result()
        images[image.url] = image
        if jpeg is not None:
            shard.spool.put(image.url, jpeg)

    workers = cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        for result in results:
            if result.reason is not None:
                images[result.url] = _unmeasured(result)
                continue
            pending.append(pool.submit(shard.measure, result))
            if len(pending) > 2 * workers:
                finish()
        while pending:
            finish()
    return images


def _unmeasured(result: FetchResult) -> Image:
    """Return the row of an image before it is measured, without key and position."""
    return Image(
        key="",
        position=0,
        url=result.url,
        route=result.route or None,
        http_status=result.status,
        error=result.error,
        robots_tag=result.robots_tag,
        reason=result.reason,
        filter=result.filter,
    )


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
