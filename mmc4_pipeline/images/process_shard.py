"""A shard of sites: which images it needs, its tar and rows once they are there, and which of them to score."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import groupby
from os import cpu_count
from typing import Protocol
from urllib.parse import urldefrag

from filters.base import ContentFilter
from mmc4_pipeline import storage
from mmc4_pipeline.apply_filters import Candidate, Learned, apply_filters
from mmc4_pipeline.errors import PermanentReadError
from mmc4_pipeline.images.faces import FaceDetector
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageRequest
from mmc4_pipeline.images.measure import Measurer, unmeasured
from mmc4_pipeline.images.partial_shards import Batch, deferred_rows, stored_results, stored_urls
from mmc4_pipeline.naming import image_name
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.tar import add_file, open_tar
from schemas.image import Image
from schemas.manifest import WrittenFile
from schemas.page import ImageLink, Page, hashed
from schemas.reasons import Reason, Stage


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
    requested although a redirect leads to it, and `content_filters` decide on what is received. `parts` is the folder
    of the results that were stored before. With `accept_deferred`, what the backlog left over remains deferred.
    `is_finished` returns whether another worker has finished the shard. `begun` is when this was made, by the monotonic
    clock.
    """

    number: int
    read_pages: Callable[[], list[Page]]
    recipe: Recipe
    tar_path: str
    parts: str
    detector: FaceDetector | None = None
    denies: Callable[[str], bool] = lambda _url: False
    content_filters: Mapping[str, ContentFilter] = field(default_factory=dict)
    accept_deferred: bool = False
    is_finished: Callable[[], bool] = lambda: False
    begun: float = field(default_factory=time.monotonic)

    @property
    def measurer(self) -> Measurer:
        """Return what measures its images."""
        return Measurer(self.recipe, self.detector, self.denies, self.content_filters)

    def remaining(self) -> list[tuple[ImageRequest, str]]:
        """Return the requests that are still to be made, each with the site of the first page that shows the image."""
        stored = stored_urls(self.parts) | self._accepted().keys()
        return [(request, site) for request, site in _requests(self.read_pages()) if request.url not in stored]

    def _accepted(self) -> dict[str, Image]:
        return deferred_rows(self.parts) if self.accept_deferred else {}

    def write(self, batch: Batch) -> FetchedShard:
        """Write the tar from the stored results and those of a batch, and return the rows.

        Raises PermanentReadError if another worker removes the stored results meanwhile.
        """
        for result in stored_results(self.parts):
            batch.add(self.parts, result.image, result.jpeg)
        for row in self._accepted().values():
            batch.add(self.parts, row, None)
        # The pages are read again: while the shard was in flight, only their links were in memory.
        pages, images = self.read_pages(), batch.rows[self.parts]
        urls = [request.url for request, _ in _requests(pages)]
        if not images.keys() >= set(urls):
            raise PermanentReadError(f"{self.parts}: results of shard {self.number} that were stored here are missing")
        jpegs = ((url, batch.jpeg(self.parts, url)) for url in urls)
        with storage.write_atomically(self.tar_path) as writer:
            places = _write_tar(writer, jpegs)
        rows = [_row(page, link, images, places) for page in pages for link in wanted_links(page)]
        return FetchedShard(rows, storage.written(self.tar_path, writer))


def fetch_from_source(shard: ShardToFetch, source: ImageSource) -> FetchedShard:
    """Take the images of a shard from another source, and measure them."""
    with closing(Batch()) as batch:
        _measure_results(source.fetch([request for request, _ in shard.remaining()]), shard, batch)
        return shard.write(batch)


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


def _measure_results(results: Iterable[FetchResult], shard: ShardToFetch, batch: Batch) -> None:
    """Measure the results of another source on all cores, and add them to a batch.

    Only a few bodies are in memory at a time.
    """
    pending: deque[Future[tuple[Image, bytes | None]]] = deque()
    measurer, workers = shard.measurer, cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        for result in results:
            if result.reason is not None:
                batch.add(shard.parts, unmeasured(result), None)
                continue
            pending.append(pool.submit(measurer.measure, result))
            if len(pending) > 2 * workers:
                batch.add(shard.parts, *pending.popleft().result())
        while pending:
            batch.add(shard.parts, *pending.popleft().result())


def _write_tar(writer: storage.HashingWriter, jpegs: Iterable[tuple[str, bytes | None]]) -> dict[str, tuple[int, int]]:
    """Write images in this order; return offset and length of each, by URL."""
    with open_tar(writer) as tar:
        return {url: (add_file(tar, image_name(url), jpeg), len(jpeg)) for url, jpeg in jpegs if jpeg is not None}


def _row(page: Page, link: ImageLink, measured: Mapping[str, Image], places: Mapping[str, tuple[int, int]]) -> Image:
    """Return the row of one link, from the measurements of its image."""
    url = urldefrag(link.url)[0]
    image, (offset, length) = measured[url], places.get(url, (None, None))
    is_denied = image.reason == Reason.DENIED and image.filter is not None  # for its content: nobody shall find it
    shown = hashed(link.url) if is_denied else link.url
    return replace(image, key=page.key, position=link.position, url=shown, offset=offset, length=length)
