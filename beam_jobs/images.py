"""The images stage: fetches and measures the images of the pages, and drops duplicates.

All shards are fetched before one is decided, because the corpus filters look at the images of all of them.
"""

import hashlib
import logging
import struct
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urldefrag

import apache_beam as beam
import msgspec
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection

from beam_jobs.backlog import BACKLOG, Backlog, Remaining
from beam_jobs.command_line import parse
from beam_jobs.engines import worker_processes
from beam_jobs.learn import RANKED_HASH, Learn
from beam_jobs.metrics import begin_shard, finish_shard, record_duration
from beam_jobs.near_copies import copies_hints, pack, unpack
from beam_jobs.options.common import CommonOptions, output_folder
from beam_jobs.options.images import ImagesOptions, face_detector, fetch_settings
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.web import WebOptions, http_settings
from beam_jobs.prefetched_images import FindImages
from beam_jobs.stage_runner import run_stage
from filters.base import ContentFilter, CorpusFilter, FileContentFilter, ImageFilter
from filters.consent import Consent
from filters.deny_list import DenyList, LoadedDenyList
from mmc4_pipeline import storage
from mmc4_pipeline.apply_filters import Candidate, apply_filters
from mmc4_pipeline.images.answers import PARTIAL, Batch, stored_urls
from mmc4_pipeline.images.faces import FaceDetector
from mmc4_pipeline.images.fetch_shards import MAX_IN_FLIGHT, fetch_backlog, fetch_shards
from mmc4_pipeline.images.fetching.fetcher import first_host
from mmc4_pipeline.images.fetching.interface import ImageRequest
from mmc4_pipeline.images.fetching.routes import Route
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.from_img2dataset.engine import Img2dataset, version_of
from mmc4_pipeline.images.from_img2dataset.prefetched import PrefetchedImages
from mmc4_pipeline.images.from_img2dataset.shards import shard_files, table_of
from mmc4_pipeline.images.process_shard import FetchedShard, ShardToFetch, decide_shard, fetch_from_source, wanted_links
from mmc4_pipeline.images.shard_groups import shard_groups
from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.naming import in_stage_folder, numbered, shard_of, site_of, stable_hash
from mmc4_pipeline.progress import Notes
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.stage_folder import StageFolder, fingerprint
from mmc4_pipeline.storage import Inputs
from schemas.image import Image
from schemas.manifest import ImageShards, ImagesInput, ImagesPlan, Manifest, PagesPlan, ShardNote, WrittenFile
from schemas.page import Page
from schemas.reasons import Stage
from schemas.statistics import Counts

DESCRIPTION = """\
Fetch the images, measure them and drop duplicates.

Reads OUTPUT/pages/. Writes OUTPUT/images/: the images in tar files, and for each link the image's size and hash or the
reason why it was dropped. Images come from the web, whose robots.txt files and per-host limits are respected, or from
shards that img2dataset has made (--images_from). This is the third stage of `mmc4 build`.

Example:
  mmc4 images --output out \\
      --fetch_user_agent 'my-dataset/1.0 (+https://example.org/contact)'
"""
OPTIONS = (CommonOptions, WebOptions, ImagesOptions)
FETCHED = "fetched"  # the notes of shards whose images have been fetched, which is most of the work
_INDEX = "prefetched"  # the folder of the index for --images_from

_log = logging.getLogger(__name__)


def run(options: PipelineOptions) -> Manifest[ImagesPlan]:
    """Run the stage and return its manifest."""
    recipe, settings, output = recipe_of(options), fetch_settings(options), output_folder(options)
    inputs = Inputs(http_settings(options))
    pages = stage_folder(output, Stage.PAGES)
    manifest = pages.manifest(PagesPlan)
    folder, shards = stage_folder(output, Stage.IMAGES), manifest.plan.shards
    detector = face_detector(options)
    lists = LoadedFilters.read(recipe.of_kind(DenyList) | recipe.of_kind(FileContentFilter), inputs)
    source, source_plan = _source(options, folder, recipe, settings, inputs)
    plan = ImagesPlan(
        shards=shards,
        recipe=recipe.part(Stage.IMAGES),
        options={
            "image_routes": list(settings.routes),
            "max_image_bytes": settings.max_bytes,
            "robots_txt": settings.robots_txt,
        },
        face_detector=detector.fingerprint_fields() if detector else None,
        input=ImagesInput(pages=fingerprint(manifest), **source_plan, lists=lists.sha256_by_path),
    )
    work = ImagesWork(
        pages=pages,
        folder=folder,
        shards=shards,
        recipe=recipe,
        settings=settings,
        lists=lists,
        detector=detector,
        source=source,
        processes=worker_processes(options),
        split_sites=tuple(manifest.plan.split_sites.values()),
        accept_deferred=options.view_as(ImagesOptions).accept_deferred,
        copies_hints=copies_hints(options, manifest.counts["links"].kept),
    )
    resume, progress = options.view_as(CommonOptions).resume, Notes(FETCHED, shards, "shards")
    return run_stage(folder, plan, options, work.build, resume=resume, progress=progress, after=_remove_temporary)


def _remove_temporary(folder: StageFolder) -> None:
    for name in (_INDEX, PARTIAL, BACKLOG):
        storage.remove_folder(folder.file(name))


def _source(
    options: PipelineOptions, folder: StageFolder, recipe: Recipe, settings: FetchSettings, inputs: Inputs
) -> tuple[Img2dataset | PrefetchedImages | None, dict[str, Any]]:
    """Return the source of the images, None for our own fetcher, and its description for the plan.

    Raises UserError if it can't be used.
    """
    own = options.view_as(ImagesOptions)
    if own.images_from:
        tars = shard_files(inputs, own.images_from)
        bytes_of = storage.for_each([*tars, *map(table_of, tars)], inputs.size)
        sizes = [f"{tar} {bytes_of[tar]} {bytes_of[table_of(tar)]}" for tar in tars]
        files = hashlib.sha256("\n".join(sizes).encode()).hexdigest()[:16]
        prefetched = PrefetchedImages(inputs, tuple(tars), folder.file(_INDEX), settings.max_bytes)
        return prefetched, {"images_from": ImageShards(shards=len(tars), files=files)}
    if own.fetch_engine == "img2dataset":
        consents = recipe.of_kind(Consent).values()
        directives = sorted({word for item in consents for word in (*item.ai_directives, *item.index_directives)})
        engine = Img2dataset(own.img2dataset_python, settings, tuple(directives))
        return engine, {"fetch_engine": f"img2dataset {version_of(own.img2dataset_python)}"}
    return None, {}


@dataclass(frozen=True, kw_only=True)
class ImagesWork:
    """Everything that the steps of the stage need. Shard numbers and hashes are shuffled, image bytes never are."""

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
    copies_hints: Mapping[str, str] = field(default_factory=dict)

    def build(self, pipeline: beam.Pipeline, todo: list[int]) -> PCollection[None]:
        """Build the pipeline: fetch all shards, learn from all of them, then decide the shards that are still to do.

        Shards are fetched in groups, because a process needs many of them in flight to be busy.
        """
        fetched, none_remains = self._fetched_shards(pipeline)
        learned = [
            fetched | f"Learn {key}" >> Learn(key, item, self.hashes, self.ranked_hashes, self.copies_hints)
            for key, item in self.recipe.of_kind(CorpusFilter).items()
        ]
        all_learned = beam.pvalue.AsDict(learned | beam.Flatten(pipeline=pipeline))
        wanted = frozenset(todo)
        decided: PCollection[None] = (
            fetched
            | "Fetched all" >> beam.Reshuffle()
            | "To do" >> beam.Filter(lambda shard, _: shard in wanted, beam.pvalue.AsSingleton(none_remains))
            | "Decide" >> beam.Map(self.decide, all_learned)
        )
        return decided

    def _groups(self) -> list[tuple[int, int]]:
        """Return groups of shards, each by its first shard and the one after its last.

        There is at least one for each process, unless few sites have most of the shards. Another source is not faster
        with groups.
        """
        if self.source:
            return shard_groups(self.shards, 1, ())
        return shard_groups(self.shards, min(MAX_IN_FLIGHT, self.shards // self.processes), self.split_sites)

    def _fetched_shards(self, pipeline: beam.Pipeline) -> tuple[PCollection[int], PCollection[int]]:
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

    def _wanted_urls(self, shard: int) -> set[str]:
        return {urldefrag(link.url)[0] for page in self._pages(shard) for link in wanted_links(page)}

    def take(self, shard: int, found: list[bytes]) -> int:
        """Take the images of a shard from what was found for it in --images_from, unless it has been fetched."""
        if isinstance(self.source, PrefetchedImages) and not storage.exists(self._fetched_note(shard)):
            begun = self._begin(shard, ())
            seconds = self._finish(begun, fetch_from_source(begun, self.source.found(found)))
            record_duration(Stage.IMAGES, "fetch", seconds)
        return shard

    def fetch(self, first: int, end: int) -> list[tuple[int, bool]]:
        """Fetch the shards of a group that have not been fetched; return all its shards, and whether they are now."""
        group = list(range(first, end))
        if len(group) == 1:
            remaining = [shard for shard in group if not storage.exists(self._fetched_note(shard))]
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
        """Fetch images of the backlog, except those whose answers were stored before this worker was lost."""
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
        """Write a shard from its stored answers; if images remain, return how many of each host instead."""
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
            read_pages=lambda: list(self._pages(shard)),
            recipe=self.recipe,
            tar_path=f"{self._file('images', shard, 'tar')}.tmp-{uuid.uuid4().hex[:12]}",
            parts=self.folder.file(numbered(PARTIAL, shard)),
            detector=self.detector,
            denies=lambda url: any(item.denies(url) for item in lists),
            accept_deferred=self.accept_deferred,
            content_filters=self.lists.of_kind(ContentFilter),
            is_finished=lambda: storage.exists(self._fetched_note(shard)),
        )

    def _finish(self, shard: ShardToFetch, fetched: FetchedShard) -> float:
        """Move the tar into place, write rows and note, remove the parts; return the seconds that the shard took.

        A worker that the runner believed lost may still be fetching a shard that another worker has finished. The web
        may have responded differently to it, so that its tar would not match the other's rows: a late result is
        discarded.
        """
        note, tar = self._fetched_note(shard.number), self._file("images", shard.number, "tar")
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

    def ranked_hashes(self, shard: int) -> Iterator[bytes]:
        """Yield rank and perceptual hash, 8 bytes each, of the images that the other filters keep."""
        for image in self._kept(shard):
            yield struct.pack(RANKED_HASH, stable_hash(f"{image.key} {image.position}"), image.phash)

    def hashes(self, shard: int) -> bytes:
        """Return the perceptual hashes of the images that the other filters keep, packed."""
        return pack(image.phash for image in self._kept(shard) if image.phash is not None)

    def _kept(self, shard: int) -> Iterator[Image]:
        filters = self.recipe.of_kind(ImageFilter)
        for image in self._fetched(shard):
            if image.phash is not None and apply_filters([Candidate(image)], filters, {})[0] is None:
                yield image

    def decide(self, shard: int, packed_hashes: dict[str, bytes]) -> None:
        """Apply the filters to a shard and finish it; `packed_hashes` are what the corpus filters learned, by key."""
        learned = {key: unpack(hashes) for key, hashes in packed_hashes.items()}
        images = decide_shard(self._fetched(shard), self.recipe, learned)
        links = Counts(seen=sum(link.reason is None for page in self._pages(shard) for link in page.links))
        links.decide(image.reason for image in images)
        files = storage.read_json(self._fetched_note(shard), list[WrittenFile])
        rows = storage.write_records(self._file("images", shard, "parquet"), images, Image)
        finish_shard(self.folder, ShardNote(shard=shard, files=[rows, *files], counts={"links": links}))

    def _file(self, stem: str, shard: int, extension: str) -> str:
        return self.folder.shard_file(stem, shard, self.shards, extension)

    def _fetched_note(self, shard: int) -> str:
        return self.folder.note_file(shard, FETCHED)

    def _pages(self, shard: int) -> Iterator[Page]:
        return storage.read_records(self.pages.shard_file("pages", shard, self.shards), Page)

    def _fetched(self, shard: int) -> list[Image]:
        return list(storage.read_records(self._file("fetched", shard, "parquet"), Image))


def main(argv: list[str], program: str = "mmc4 images") -> None:
    """Run from the command line."""
    run(parse(argv, program, DESCRIPTION, OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("images")
