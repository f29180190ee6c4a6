"""Fetches the images of the shards of pages, and writes the tar and the rows of each shard.

Shards are fetched in groups, because a process needs many of them in flight to be busy. What the time of a shard leaves
over is the backlog.
"""

import logging
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urldefrag

import apache_beam as beam
import msgspec
from apache_beam.pvalue import PCollection

from beam_jobs.backlog import Backlog, Remaining
from beam_jobs.metrics import begin_shard, record_duration
from beam_jobs.prefetched_images import FindImages
from filters.base import ContentFilter
from filters.deny_list import LoadedDenyList
from mmc4_pipeline import storage
from mmc4_pipeline.images.faces import FaceDetector
from mmc4_pipeline.images.fetch_shards import MAX_IN_FLIGHT, fetch_backlog, fetch_shards
from mmc4_pipeline.images.fetching.fetcher import first_host
from mmc4_pipeline.images.fetching.interface import ImageRequest
from mmc4_pipeline.images.fetching.routes import Route
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.from_img2dataset.engine import Img2dataset
from mmc4_pipeline.images.from_img2dataset.prefetched import PrefetchedImages
from mmc4_pipeline.images.partial_shards import PARTIAL, Batch, stored_urls
from mmc4_pipeline.images.process_shard import FetchedShard, ShardToFetch, fetch_from_source, wanted_links
from mmc4_pipeline.images.shard_groups import shard_groups
from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.naming import in_stage_folder, numbered, shard_of, site_of
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.stage_folder import StageFolder
from schemas.image import Image
from schemas.manifest import WrittenFile
from schemas.page import Page
from schemas.reasons import Stage

FETCHED = "fetched"  # the notes of shards whose images have been fetched, which is most of the work

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FetchImages:
    """Fetches the images of all shards, with our own fetcher or from another source.

    `split_sites` has the first shard of each large site and how many there are.
    """

    pages: StageFolder
    folder: StageFolder
    shards: int
    recipe: Recipe
    settings: FetchSettings
    lists: LoadedFilters
    detector: FaceDetector | None = None
    source: Img2dataset | PrefetchedImages | None = None
    processes: int = 1
    split_sites: tuple[tuple[int, int], ...] = ()
    accept_deferred: bool = False

    def build(self, pipeline: beam.Pipeline) -> tuple[PCollection[int], PCollection[int]]:
        """Fetch the shards that have not been fetched; return all of them, and a 0 once no image remains."""
        if not isinstance(self.source, PrefetchedImages):
            groups = pipeline | beam.Create(self._groups()) | "Spread groups" >> beam.Reshuffle()
            fetched = groups | "Fetch" >> beam.FlatMapTuple(self.fetch)
            backlog = Backlog(self.folder, self.remaining, self.work_through, self.complete)
            with_backlog: tuple[PCollection[int], PCollection[int]] = fetched | backlog
            return with_backlog
        remaining = sorted(set(range(self.shards)) - self.folder.done(FETCHED))
        found = pipeline | FindImages(self.source, self.shards, remaining, self._wanted_urls)
        taken: PCollection[int] = found | "Fetch" >> beam.MapTuple(self.take)
        return taken, pipeline | "None remains" >> beam.Create([0])

    def _groups(self) -> list[tuple[int, int]]:
        """Return groups of shards, each by its first shard and the one after its last.

        There is at least one for each process, unless few sites have most of the shards. Another source is not faster
        with groups.
        """
        if self.source:
            return shard_groups(self.shards, 1, ())
        return shard_groups(self.shards, min(MAX_IN_FLIGHT, self.shards // self.processes), self.split_sites)

    def _wanted_urls(self, shard: int) -> set[str]:
        return {urldefrag(link.url)[0] for page in self.pages_of(shard) for link in wanted_links(page)}

    def take(self, shard: int, found: list[bytes]) -> int:
        """Take the images of a shard from what was found for it in --images_from, unless it has been fetched."""
        if isinstance(self.source, PrefetchedImages) and not storage.exists(self._note(shard)):
            begun = self._begin(shard, ())
            seconds = self._finish(begun, fetch_from_source(begun, self.source.found(found)))
            record_duration(Stage.IMAGES, "fetch", seconds)
        return shard

    def fetch(self, first: int, end: int) -> list[tuple[int, bool]]:
        """Fetch the shards of a group that have not been fetched; return all its shards, and whether they are now."""
        group = list(range(first, end))
        if len(group) == 1:
            remaining = [shard for shard in group if not storage.exists(self._note(shard))]
        else:  # one listing for the whole group: on an object store each look at a note is a request
            remaining = sorted(set(group) - self.folder.done(FETCHED))
        seconds: list[float] = []
        unfinished = set[int]()

        def finish(shard: ShardToFetch, fetched: FetchedShard) -> None:
            seconds.append(self._finish(shard, fetched))

        if self.source is None:
            lists = self.lists.of_kind(LoadedDenyList).values()
            shards = (self._begin(shard, lists) for shard in remaining)
            unfinished = set(fetch_shards(shards, self.settings, finish))
        elif isinstance(self.source, Img2dataset):
            for shard in remaining:
                begun = self._begin(shard, ())
                finish(begun, fetch_from_source(begun, self.source))
        for each in seconds:
            record_duration(Stage.IMAGES, "fetch", each)
        return [(shard, shard not in unfinished) for shard in group]

    def remaining(self, shard: int) -> Iterator[tuple[int, Remaining]]:
        """Yield the images of a shard that remain, by the number of the worker for their host."""
        route = Route.of(self.settings.routes[0])
        unfinished = self._shard(shard, ())
        for request, site in [] if unfinished.is_finished() else unfinished.remaining():
            domain = site_of(f"//{first_host(route, request)}")
            yield shard_of(domain, self.processes), Remaining(shard, request.url, request.timestamp, site)

    def work_through(self, images: Sequence[Remaining]) -> None:
        """Fetch images of the backlog, except those whose results were stored before this worker was lost."""
        lists = self.lists.of_kind(LoadedDenyList).values()
        shards = {number: self._shard(number, lists) for number in sorted({image.shard for image in images})}
        stored = storage.for_each([shard.parts for shard in shards.values()], stored_urls)
        todo = [
            (shards[image.shard], ImageRequest(image.url, image.timestamp), image.site)
            for image in images
            if image.url not in stored[shards[image.shard].parts]
        ]
        _log.info("images: %d images of %d shards remain for this worker", len(todo), len(shards))
        fetch_backlog(todo, self.settings)

    def complete(self, number: int) -> dict[str, int]:
        """Write a shard from its stored results; if images remain, return how many of each host instead."""
        shard, route = self._shard(number, ()), Route.of(self.settings.routes[0])
        remaining = [] if shard.is_finished() else shard.remaining()
        if not remaining and not shard.is_finished():
            with closing(Batch()) as batch:
                record_duration(Stage.IMAGES, "fetch", self._finish(shard, shard.write(batch)))
        return Counter(first_host(route, request) for request, _ in remaining)

    def _begin(self, shard: int, lists: Collection[LoadedDenyList]) -> ShardToFetch:
        begin_shard(self.folder, shard)
        return self._shard(shard, lists)

    def _shard(self, shard: int, lists: Collection[LoadedDenyList]) -> ShardToFetch:
        return ShardToFetch(
            number=shard,
            read_pages=lambda: list(self.pages_of(shard)),
            recipe=self.recipe,
            tar_path=f"{self._file('images', shard, 'tar')}.tmp-{uuid.uuid4().hex[:12]}",
            parts=self.folder.file(numbered(PARTIAL, shard)),
            detector=self.detector,
            denies=lambda url: any(item.denies(url) for item in lists),
            accept_deferred=self.accept_deferred,
            content_filters=self.lists.of_kind(ContentFilter),
            is_finished=lambda: storage.exists(self._note(shard)),
        )

    def _finish(self, shard: ShardToFetch, fetched: FetchedShard) -> float:
        """Move the tar into place, write rows and note, remove the parts; return the seconds that the shard took.

        A worker that the runner believed lost may still be fetching a shard that another worker has finished. The web
        may have responded differently to it, so that its tar would not match the other's rows: a late result is
        discarded.
        """
        note, tar = self._note(shard.number), self._file("images", shard.number, "tar")
        if shard.is_finished():
            storage.remove(shard.tar_path)
        else:
            storage.rename(shard.tar_path, tar)
            storage.write_records(self._file("fetched", shard.number, "parquet"), fetched.images, Image)
            storage.write_json(
                note, [msgspec.structs.replace(fetched.tar, name=in_stage_folder(tar.rpartition("/")[2]))]
            )
        storage.remove_folder(shard.parts)
        seconds = time.monotonic() - shard.begun
        received, images = sum(image.reason is None for image in fetched.images), len(fetched.images)
        _log.info("images: shard %d: %d of %d images fetched in %.1f s", shard.number, received, images, seconds)
        return seconds

    def pages_of(self, shard: int) -> Iterator[Page]:
        """Yield the pages of a shard."""
        return storage.read_records(self.pages.shard_file("pages", shard, self.shards), Page)

    def fetched(self, shard: int) -> list[Image]:
        """Return the rows of a fetched shard, on which the filters of the stage decide."""
        return list(storage.read_records(self._file("fetched", shard, "parquet"), Image))

    def tar_files(self, shard: int) -> list[WrittenFile]:
        """Return the files with the images of a fetched shard, as its note lists them."""
        files: list[WrittenFile] = storage.read_json(self._note(shard), list[WrittenFile])
        return files

    def _file(self, stem: str, shard: int, extension: str) -> str:
        return self.folder.shard_file(stem, shard, self.shards, extension)

    def _note(self, shard: int) -> str:
        return self.folder.note_file(shard, FETCHED)
