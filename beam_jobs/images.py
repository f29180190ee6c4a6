"""The images stage: fetches and measures the images of the pages, and drops duplicates.

All shards are fetched before one is decided, because the corpus filters look at the images of all of them.
"""

import hashlib
import logging
import struct
import time
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urldefrag

import apache_beam as beam
import msgspec
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection
from apache_beam.transforms import combiners

from beam_jobs.command_line import parse
from beam_jobs.engines import worker_processes
from beam_jobs.metrics import begin_shard, finish_shard, record_duration
from beam_jobs.near_copies import TooManyCopies, pack, unpack
from beam_jobs.options.common import CommonOptions, output_folder
from beam_jobs.options.images import ImagesOptions, face_detector, fetch_settings
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.web import WebOptions, http_settings
from beam_jobs.prefetched_images import FindImages
from beam_jobs.stage_runner import run_stage
from filters.base import ContentFilter, CopiesFilter, CorpusFilter, FileContentFilter, ImageFilter, SampleFilter
from filters.consent import Consent
from filters.deny_list import DenyList, LoadedDenyList
from mmc4_pipeline import storage
from mmc4_pipeline.apply_filters import Candidate, apply_filters
from mmc4_pipeline.images.answers import PARTIAL
from mmc4_pipeline.images.faces import FaceDetector
from mmc4_pipeline.images.fetch_shards import MAX_IN_FLIGHT, fetch_shards
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.from_img2dataset.engine import Img2dataset, version_of
from mmc4_pipeline.images.from_img2dataset.prefetched import PrefetchedImages
from mmc4_pipeline.images.from_img2dataset.shards import shard_files, table_of
from mmc4_pipeline.images.process_shard import FetchedShard, ShardToFetch, decide_shard, fetch_from_source, wanted_links
from mmc4_pipeline.images.shard_groups import shard_groups
from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.naming import stable_hash
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
_LEARNED = tuple[str, bytes]  # declared where several collections are merged: Flink requires equal coders
_INDEX = "prefetched"  # the folder of the index for --images_from
_RANKED_HASH = ">QQ"  # Beam's integers are signed, hashes are not; big-endian bytes sort like their numbers

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
    )
    resume, progress = options.view_as(CommonOptions).resume, Notes(FETCHED, shards, "shards")
    return run_stage(folder, plan, options, work.build, resume=resume, progress=progress, after=_remove_temporary)


def _remove_temporary(folder: StageFolder) -> None:
    for name in (_INDEX, PARTIAL):
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

    def build(self, pipeline: beam.Pipeline, todo: list[int]) -> PCollection[None]:
        """Build the pipeline: fetch all shards, learn from all of them, then decide the shards that are still to do.

        Shards are fetched in groups, because a process needs many of them in flight to be busy.
        """
        fetched = self._fetched_shards(pipeline)
        learned = [
            fetched | f"Learn {key}" >> Learn(self, key, item)
            for key, item in self.recipe.of_kind(CorpusFilter).items()
        ]
        all_learned = beam.pvalue.AsDict(learned | beam.Flatten(pipeline=pipeline))
        wanted = frozenset(todo)
        decided: PCollection[None] = (
            fetched
            | "Fetched all" >> beam.Reshuffle()
            | "To do" >> beam.Filter(lambda shard: shard in wanted)
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

    def _fetched_shards(self, pipeline: beam.Pipeline) -> PCollection[int]:
        """Fetch all shards that have not been fetched; return the numbers of all shards."""
        if not isinstance(self.source, PrefetchedImages):
            groups = pipeline | beam.Create(self._groups()) | "Spread groups" >> beam.Reshuffle()
            fetched: PCollection[int] = groups | "Fetch" >> beam.FlatMapTuple(self.fetch)
            return fetched
        remaining = sorted(set(range(self.shards)) - self.folder.done(FETCHED))
        found = pipeline | FindImages(self.source, self.shards, remaining, self._wanted_urls)
        taken: PCollection[int] = found | "Fetch" >> beam.MapTuple(self.take)
        return taken

    def _wanted_urls(self, shard: int) -> set[str]:
        return {urldefrag(link.url)[0] for page in self._pages(shard) for link in wanted_links(page)}

    def take(self, shard: int, found: list[bytes]) -> int:
        """Take the images of a shard from what was found for it in --images_from, unless it has been fetched."""
        if isinstance(self.source, PrefetchedImages) and not storage.exists(self._fetched_note(shard)):
            begun = self._begin(shard, ())
            seconds = self._finish(begun, fetch_from_source(begun, self.source.found(found)))
            record_duration(Stage.IMAGES, "fetch", seconds)
        return shard

    def fetch(self, first: int, end: int) -> list[int]:
        """Fetch the shards of a group, except those that have been fetched, and return the whole group."""
        group = list(range(first, end))
        if len(group) == 1:
            remaining = [shard for shard in group if not storage.exists(self._fetched_note(shard))]
        else:  # one listing for the whole group: on an object store each look at a note is a request
            remaining = sorted(set(group) - self.folder.done(FETCHED))
        seconds: list[float] = []
        if self.source is None:
            lists = self.lists.of_kind(LoadedDenyList).values()
            shards = (self._begin(shard, lists) for shard in remaining)
            fetch_shards(shards, self.settings, lambda shard, fetched: seconds.append(self._finish(shard, fetched)))
        elif isinstance(self.source, Img2dataset):
            for shard in remaining:
                begun = self._begin(shard, ())
                seconds.append(self._finish(begun, fetch_from_source(begun, self.source)))
        for each in seconds:
            record_duration(Stage.IMAGES, "fetch", each)
        return group

    def _begin(self, shard: int, lists: Collection[LoadedDenyList]) -> ShardToFetch:
        begin_shard(self.folder, shard)
        return ShardToFetch(
            number=shard,
            read_pages=lambda: list(self._pages(shard)),
            recipe=self.recipe,
            tar_path=f"{self._file('images', shard, 'tar')}.tmp-{uuid.uuid4().hex[:12]}",
            parts=self.folder.file(f"{PARTIAL}/{shard:05d}"),
            detector=self.detector,
            denies=lambda url: any(item.denies(url) for item in lists),
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
            storage.write_json(note, [msgspec.structs.replace(fetched.tar, name=tar.rpartition("/")[2])])
        storage.remove_folder(shard.parts)
        seconds = time.monotonic() - shard.begun
        received, images = sum(image.reason is None for image in fetched.images), len(fetched.images)
        _log.info("images: shard %d: %d of %d images fetched in %.1f s", shard.number, received, images, seconds)
        return seconds

    def ranked_hashes(self, shard: int) -> Iterator[bytes]:
        """Yield rank and perceptual hash, 8 bytes each, of the images that the other filters keep."""
        for image in self._kept(shard):
            yield struct.pack(_RANKED_HASH, stable_hash(f"{image.key} {image.position}"), image.phash)

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


class Learn(beam.PTransform):
    """From fetched shards to (key of a corpus filter, the hashes that it learned to drop, packed).

    A sample has a bounded size: it consists of the images with the lowest ranks.
    """

    def __init__(self, work: ImagesWork, key: str, item: CorpusFilter) -> None:
        super().__init__()
        self._work, self._key, self._filter = work, key, item

    def expand(self, fetched: PCollection[int]) -> PCollection[tuple[str, bytes]]:
        key = self._key
        match self._filter:
            case CopiesFilter() as item:
                hashes = self._from_all(fetched, item)
            case SampleFilter() as item:
                hashes = self._from_sample(fetched, item)
            case item:
                raise TypeError(f"{type(item).__name__} is not a known kind of corpus filter; see filters/base.py")
        learned: PCollection[tuple[str, bytes]] = hashes | "With key" >> beam.Map(
            lambda packed: (key, packed)
        ).with_output_types(_LEARNED)
        return learned

    def _from_all(self, fetched: PCollection[int], item: CopiesFilter) -> PCollection[bytes]:
        hashes = fetched | "Hashes" >> beam.Map(self._work.hashes)
        common: PCollection[bytes] = hashes | TooManyCopies(item.max_copies, item.max_distance)
        return common

    def _from_sample(self, fetched: PCollection[int], item: SampleFilter) -> PCollection[bytes]:
        def learn(sample: list[bytes]) -> bytes:
            return pack(item.learn(sorted(struct.unpack(_RANKED_HASH, ranked)[1] for ranked in sample)))

        ranked = fetched | "Ranked hashes" >> beam.FlatMap(self._work.ranked_hashes)
        learned: PCollection[bytes] = (
            ranked | combiners.Top.Smallest(item.sample) | "Learn from sample" >> beam.Map(learn)
        )
        return learned


def main(argv: list[str], program: str = "mmc4 images") -> None:
    """Run from the command line."""
    run(parse(argv, program, DESCRIPTION, OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("images")
