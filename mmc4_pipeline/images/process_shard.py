"""Fetches and measures the images of one shard of sites, then decides which of them are worth scoring."""

import asyncio
import hashlib
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
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
from mmc4_pipeline.images.fetching.fetch import Answer, Denied, Fetcher, FetchSettings, Request
from mmc4_pipeline.images.spool import Spool
from mmc4_pipeline.naming import image_name
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.storage import WrittenFile
from mmc4_pipeline.tar import add_file, open_tar
from schemas.image import Image
from schemas.page import ImageLink, Page
from schemas.reasons import Drop, Reason, Stage

_PASSES = 2  # the second over what was left when the shard's time was over


@dataclass(frozen=True, slots=True)
class FetchedShard:
    """What fetching a shard left: its image rows in document order, and the tar with their bytes."""

    images: list[Image]
    tar: WrittenFile


class Source(Protocol):
    """Where images come from if not from our own fetcher."""

    def answers(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Yield one answer for each request, with the request's URL, in any order; a body may be no image."""


def fetch_shard(
    pages: Sequence[Page],
    recipe: Recipe,
    settings: FetchSettings,
    tar_path: str,
    *,
    detector: FaceDetector | None = None,
    denied: Denied = lambda _url: False,
    source: Source | None = None,
) -> FetchedShard:
    """Fetch each distinct image of the pages once, measure it, and write those worth keeping to a tar.

    With a detector, faces are looked for in those that are written. `denied` tells of URLs no redirect may lead to.
    With a `source` the images are taken from there: nothing is asked for by `settings`.
    """
    with tempfile.TemporaryFile() as file:
        spool = Spool(file)
        requests = _requests(pages)
        if source is None:
            measured = asyncio.run(_measure_all(requests, recipe, settings, spool, detector, denied))
        else:
            found = _measure_answers(source.answers(requests), recipe, spool, detector)
            measured = {request.url: found[request.url] for request in requests}
        with storage.write_atomically(tar_path) as writer:
            places = _write_tar(writer, spool, measured)
    images = [_row(page, link, measured, places) for page in pages for link in wanted_links(page)]
    return FetchedShard(images, storage.written(tar_path, writer))


def wanted_links(page: Page) -> Iterator[ImageLink]:
    """Yield the links of a page that no link filter dropped."""
    return (link for link in page.links if link.reason is None)


def decide_shard(fetched: Sequence[Image], recipe: Recipe, learned: Learned) -> list[Image]:
    """Give the image rows with the images stage's verdict; `learned` is what the corpus filters found."""
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


def _requests(pages: Sequence[Page]) -> list[Request]:
    """Give one request for each distinct image; what is behind "#" never reaches a server."""
    distinct: dict[str, datetime] = {}
    for page in pages:
        for link in wanted_links(page):
            distinct.setdefault(urldefrag(link.url)[0], page.timestamp)
    return [Request(url, timestamp) for url, timestamp in distinct.items()]


async def _measure_all(
    requests: Sequence[Request],
    recipe: Recipe,
    settings: FetchSettings,
    spool: Spool,
    detector: FaceDetector | None,
    denied: Denied,
) -> dict[str, Image]:
    """Fetch all images side by side and give what was measured, by URL: what the time ends first gets a last pass."""

    def consent(robots_tag: str) -> Drop | None:
        return _judge(Image(key="", position=0, url="", robots_tag=robots_tag), recipe)

    async def measure(request: Request, fetcher: Fetcher) -> Image:
        measurements: dict[str, Image] = {}

        async def accept(answer: Answer) -> str | None:
            image, jpeg = await loop.run_in_executor(decoders, _measure, answer, recipe, detector)
            measurements[answer.url] = image
            if jpeg is not None:
                spool.put(request.url, jpeg)
            return image.reason

        answer = await fetcher.fetch(request, accept)
        return replace(measurements.get(answer.url) or _of_answer(answer), url=request.url)

    images: dict[str, Image] = {}
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(cpu_count(), "decode") as decoders:  # not the loop's own threads, which look up names
        async with Fetcher.open(settings, consent, denied) as fetcher:
            left = requests
            for _ in range(_PASSES):
                fetcher.give_time(settings.shard_seconds)
                found = await asyncio.gather(*(measure(item, fetcher) for item in left))
                images |= {image.url: image for image in found}
                left = [request for request in left if images[request.url].reason == Reason.DEFERRED]
    return images


def _measure_answers(
    answers: Iterable[Answer], recipe: Recipe, spool: Spool, detector: FaceDetector | None
) -> dict[str, Image]:
    """Measure what another source gives, on all cores, a few bodies in memory at a time; give the images by URL."""
    images: dict[str, Image] = {}
    under_way: deque[Future[tuple[Image, bytes | None]]] = deque()

    def finish() -> None:
        image, jpeg = under_way.popleft().result()
        images[image.url] = image
        if jpeg is not None:
            spool.put(image.url, jpeg)

    workers = cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        for answer in answers:
            if answer.reason is not None:
                images[answer.url] = _of_answer(answer)
                continue
            under_way.append(pool.submit(_measure, answer, recipe, detector))
            if len(under_way) > 2 * workers:
                finish()
        while under_way:
            finish()
    return images


def _of_answer(answer: Answer) -> Image:
    """Give the row of an answer that has no body to measure."""
    return Image(
        key="",
        position=0,
        url=answer.url,
        route=answer.route or None,
        http_status=answer.status,
        error=answer.error,
        robots_tag=answer.robots_tag,
        reason=answer.reason,
        filter=answer.filter,
    )


def _judge(image: Image, recipe: Recipe) -> Drop | None:
    """Return what the filters that need no other image drop it for, None if they keep it."""
    return apply_filters([Candidate(image)], recipe.of_kind(ImageFilter), {})[0]


def _measure(answer: Answer, recipe: Recipe, detector: FaceDetector | None) -> tuple[Image, bytes | None]:
    """Decode a body once; give its row and the JPEG to store, if it is an image worth that."""
    sha256 = answer.sha256 or hashlib.sha256(answer.body).hexdigest()
    received = replace(_of_answer(answer), sha256=sha256, byte_size=len(answer.body))
    decoded = decode(answer.body, recipe.images)
    if isinstance(decoded, Undecodable):
        return replace(received, reason=decoded.reason, error=decoded.error), None
    width, height = decoded.width, decoded.height
    if answer.size is not None and set(answer.size) != {width, height}:  # else the same, or turned upright
        width, height = answer.size
    image = replace(
        received,
        format=decoded.format,
        width=width,
        height=height,
        phash=decoded.phash,
        sharpness=decoded.sharpness,
    )
    if _judge(image, recipe) is not None:
        return image, None
    faces = detector.detect(decoded.pixels) if detector else None
    return replace(image, face_detections=faces), decoded.jpeg


def _write_tar(writer: storage.HashingWriter, spool: Spool, measured: dict[str, Image]) -> dict[str, tuple[int, int]]:
    """Write the spooled images in document order; give offset and length of each, by URL."""
    with open_tar(writer) as tar:
        return {url: (add_file(tar, image_name(url), jpeg), len(jpeg)) for url, jpeg in spool.take(iter(measured))}


def _row(page: Page, link: ImageLink, measured: dict[str, Image], places: dict[str, tuple[int, int]]) -> Image:
    """Give the row of one link from what was measured on its image."""
    url = urldefrag(link.url)[0]
    offset, length = places.get(url, (None, None))
    return replace(measured[url], key=page.key, position=link.position, url=link.url, offset=offset, length=length)
