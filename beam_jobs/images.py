"""images: pages -> `images/`: fetched, measured, stored in tars; per-document and corpus-wide duplicates decided."""

import hashlib
import struct
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection
from apache_beam.transforms import combiners

from beam_jobs.command_line import parse
from beam_jobs.metrics import begin_shard, finish_shard, timed
from beam_jobs.near_copies import TooManyCopies, packed, unpacked
from beam_jobs.options.common import CommonOptions, output_folder
from beam_jobs.options.images import ImagesOptions, face_detector, fetch_settings
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.web import WebOptions, http_settings
from beam_jobs.stage_runner import run_stage, stage_folder
from filters.base import CopiesFilter, CorpusFilter, ImageFilter, SampleFilter
from filters.consent import Consent
from filters.deny_list import DenyList, LoadedDenyList
from mmc4_pipeline import storage
from mmc4_pipeline.apply_filters import Candidate, apply_filters
from mmc4_pipeline.images.by_img2dataset import Img2dataset, version_of
from mmc4_pipeline.images.faces import FaceDetector
from mmc4_pipeline.images.fetching.fetch import FetchSettings
from mmc4_pipeline.images.img2dataset_shards import shard_files, table_of
from mmc4_pipeline.images.prefetched import PrefetchedImages
from mmc4_pipeline.images.process_shard import FetchedShard, decide_shard, fetch_shard
from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.naming import stable_hash
from mmc4_pipeline.progress import Notes
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.stage_folder import StageFolder, fingerprint
from mmc4_pipeline.storage import Inputs, WrittenFile
from schemas.image import Image
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
FETCHED = "fetched"  # the notes of shards whose images are all here: the bulk of the work
_LEARNED = tuple[str, bytes]  # said where several are put together: Flink refuses that of different coders
_INDEX = "ready_made"  # of --images_from
_FILES_AT_ONCE = 32
_SAMPLE = ">QQ"  # Beam's integers are signed, hashes are not; big-endian bytes sort as their numbers do


def run(options: PipelineOptions) -> dict[str, Any]:
    """Run the stage and give its manifest."""
    recipe, settings, output = recipe_of(options), fetch_settings(options), output_folder(options)
    inputs = Inputs(http_settings(options))
    pages = stage_folder(output, Stage.PAGES)
    manifest = pages.manifest()
    folder = stage_folder(output, Stage.IMAGES)
    detector = face_detector(options)
    deny_lists = LoadedFilters.read(recipe.of_kind(DenyList), inputs)
    source, given = _source(options, folder, recipe, settings, inputs)
    plan = {
        "recipe": recipe.part(Stage.IMAGES),
        "options": {
            "image_routes": list(settings.routes),
            "max_image_bytes": settings.max_bytes,
            "robots_txt": settings.robots_txt,
        },
        "face_detector": detector.plan() if detector else None,
        "input": {"pages": fingerprint(manifest), **given, **deny_lists.plan()},
    }
    work = ImagesWork(pages, folder, manifest["shards"], recipe, settings, deny_lists, detector, source)
    resume = options.view_as(CommonOptions).resume
    finished = run_stage(
        folder,
        plan,
        manifest["shards"],
        options,
        work.build,
        resume=resume,
        progress=Notes(FETCHED, manifest["shards"], "shards"),
    )
    storage.remove_folder(folder.file(_INDEX))
    return finished


def _source(
    options: PipelineOptions, folder: StageFolder, recipe: Recipe, settings: FetchSettings, inputs: Inputs
) -> tuple[Img2dataset | PrefetchedImages | None, dict[str, Any]]:
    """Give where images come from, None where our own fetcher asks for them, and what the plan says of that.

    Raises UserError.
    """
    own = options.view_as(ImagesOptions)
    if own.images_from:
        tars = shard_files(inputs, own.images_from)
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:  # on remote storage each look at a file takes a while
            sizes = list(pool.map(lambda tar: f"{tar} {inputs.size(tar)} {inputs.size(table_of(tar))}", tars))
        files = hashlib.sha256("\n".join(sizes).encode()).hexdigest()[:16]
        ready_made = PrefetchedImages(inputs, tuple(tars), folder.file(_INDEX), settings.max_bytes)
        return ready_made, {"images_from": {"shards": len(tars), "files": files}}
    if own.fetch_engine == "img2dataset":
        asked = recipe.of_kind(Consent).values()
        heeded = sorted({word for item in asked for word in (*item.ai_directives, *item.index_directives)})
        engine = Img2dataset(own.img2dataset_python, settings, tuple(heeded))
        return engine, {"fetch_engine": f"img2dataset {version_of(own.img2dataset_python)}"}
    return None, {}


class ImagesWork:
    """The wiring of the stage: shard numbers and hashes move, image bytes never do."""

    def __init__(
        self,
        pages: StageFolder,
        folder: StageFolder,
        shards: int,
        recipe: Recipe,
        settings: FetchSettings,
        deny_lists: LoadedFilters,
        detector: FaceDetector | None = None,
        source: Img2dataset | PrefetchedImages | None = None,
    ) -> None:
        self._pages, self._folder, self._shards, self._recipe, self._settings = pages, folder, shards, recipe, settings
        self._deny_lists, self._detector, self._source = deny_lists, detector, source

    def build(self, pipeline: beam.Pipeline, todo: list[int]) -> None:
        """Wire the pipeline. Every shard is fetched before one is decided: the corpus filters look at all of them."""
        shards = pipeline | beam.Create(list(range(self._shards))) | "Spread shards" >> beam.Reshuffle()
        fetched = shards | "Fetch" >> beam.Map(self.fetch, *self._indexed(pipeline))
        learned = [
            fetched | f"Learn {key}" >> self._learning(key, item)
            for key, item in self._recipe.of_kind(CorpusFilter).items()
        ]
        _ = (
            fetched
            | "Fetched all" >> beam.Reshuffle()
            | "To do" >> beam.Filter(lambda shard: shard in todo)
            | "Decide" >> beam.Map(self._decide, beam.pvalue.AsDict(learned | beam.Flatten(pipeline=pipeline)))
        )

    def _path(self, stem: str, shard: int, extension: str) -> str:
        return self._folder.shard_file(stem, shard, self._shards, extension)

    def _read_pages(self, shard: int) -> Iterator[Page]:
        return storage.read_records(self._pages.shard_file("pages", shard, self._shards), Page)

    def _indexed(self, pipeline: beam.Pipeline) -> list[beam.pvalue.AsSingleton]:
        """Index the image shards that --images_from names, all of them before anything is looked for in them."""
        if not isinstance(self._source, PrefetchedImages):
            return []
        numbers = pipeline | "Image shards" >> beam.Create(list(range(len(self._source.tars))))
        indexed = numbers | "Spread image shards" >> beam.Reshuffle() | "Index" >> beam.Map(self._source.index_shard)
        return [beam.pvalue.AsSingleton(indexed | "Indexed all" >> combiners.Count.Globally())]

    def fetch(self, shard: int, _indexed: int = 0) -> int:
        """Fetch a shard unless that is done; the note comes last, after tar and rows.

        A worker that was given up for lost may still be at a shard that another has finished by then. The web may have
        answered it otherwise, so that its tar would not fit the other's rows: what comes late is thrown away.
        """
        note, tar = self._folder.file(f"{FETCHED}/{shard:05d}.json"), self._path("images", shard, "tar")
        if storage.exists(note):
            return shard
        attempt = f"{tar}.tmp-{uuid.uuid4().hex[:12]}"
        begin_shard(self._folder, shard)
        with timed(Stage.IMAGES, "fetch"):
            result = self._fetch(shard, attempt)
        if storage.exists(note):
            storage.remove(attempt)
        else:
            storage.rename(attempt, tar)
            storage.write_records(self._path("fetched", shard, "parquet"), result.images, Image)
            file = replace(result.tar, name=tar.rpartition("/")[2])
            storage.write_json(note, storage.as_json([file]))
        return shard

    def _fetch(self, shard: int, tar: str) -> FetchedShard:
        lists = self._deny_lists.of_kind(LoadedDenyList).values()
        return fetch_shard(
            list(self._read_pages(shard)),
            self._recipe,
            self._settings,
            tar,
            detector=self._detector,
            denied=lambda url: any(item.denies(url) for item in lists),
            source=self._source,
        )

    def _fetched(self, shard: int) -> list[Image]:
        return list(storage.read_records(self._path("fetched", shard, "parquet"), Image))

    def _learning(self, key: str, item: CorpusFilter) -> beam.PTransform:
        if isinstance(item, CopiesFilter):
            return _LearnFromAll(self, key, item)
        return _LearnFromSample(self, key, self._recipe.of_kind(SampleFilter)[key])

    def ranked_hashes(self, shard: int) -> Iterator[bytes]:
        """Yield rank and perceptual hash, 8 bytes each, of the images that the other filters keep."""
        for image in self._kept(shard):
            yield struct.pack(_SAMPLE, stable_hash(f"{image.key} {image.position}"), image.phash)

    def hashes(self, shard: int) -> bytes:
        """Give the perceptual hashes of the images that the other filters keep, packed."""
        return packed(image.phash for image in self._kept(shard) if image.phash is not None)

    def _kept(self, shard: int) -> Iterator[Image]:
        filters = self._recipe.of_kind(ImageFilter)
        for image in self._fetched(shard):
            if image.phash is not None and apply_filters([Candidate(image)], filters, {})[0] is None:
                yield image

    def _decide(self, shard: int, packed_learned: dict[str, bytes]) -> None:
        learned = {key: unpacked(hashes) for key, hashes in packed_learned.items()}
        images = decide_shard(self._fetched(shard), self._recipe, learned)
        links = Counts(seen=sum(link.reason is None for page in self._read_pages(shard) for link in page.links))
        links.decide(image.reason for image in images)
        (tar,) = storage.read_json(self._folder.file(f"{FETCHED}/{shard:05d}.json"))
        rows = storage.write_records(self._path("images", shard, "parquet"), images, Image)
        finish_shard(self._folder, shard, [rows, WrittenFile(**tar)], {"links": links})


class _LearnFromSample(beam.PTransform):
    """Gives (filter key, what the filter learned) from a sample of bounded size: the images with the lowest ranks."""

    def __init__(self, work: ImagesWork, key: str, item: SampleFilter) -> None:
        super().__init__()
        self._work, self._key, self._filter = work, key, item

    def expand(self, fetched: PCollection[int]) -> PCollection[tuple[str, bytes]]:
        learned: PCollection[tuple[str, bytes]] = (
            fetched
            | beam.FlatMap(self._work.ranked_hashes)
            | combiners.Top.Smallest(self._filter.sample)
            | beam.Map(self._learn).with_output_types(_LEARNED)
        )
        return learned

    def _learn(self, sample: list[bytes]) -> tuple[str, bytes]:
        return self._key, packed(self._filter.learn(sorted(struct.unpack(_SAMPLE, item)[1] for item in sample)))


class _LearnFromAll(beam.PTransform):
    """Gives (filter key, the hashes that have too many copies in the corpus)."""

    def __init__(self, work: ImagesWork, key: str, item: CopiesFilter) -> None:
        super().__init__()
        self._work, self._key, self._filter = work, key, item

    def expand(self, fetched: PCollection[int]) -> PCollection[tuple[str, bytes]]:
        learned: PCollection[tuple[str, bytes]] = (
            fetched
            | "Hashes" >> beam.Map(self._work.hashes)
            | TooManyCopies(self._filter.max_copies, self._filter.max_distance)
            | "Name" >> beam.Map(lambda hashes: (self._key, hashes)).with_output_types(_LEARNED)
        )
        return learned


def main(argv: list[str], program: str = "mmc4 images") -> None:
    """Run from the command line."""
    run(parse(argv, program, DESCRIPTION, OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("images")
