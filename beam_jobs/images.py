"""The images stage: images are fetched and measured (`fetch_images.py`), then filtered; duplicates are dropped.

All shards are fetched before one is decided, because the corpus filters look at the images of all of them.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection

from beam_jobs.backlog import BACKLOG
from beam_jobs.command_line import parse
from beam_jobs.engines import worker_processes
from beam_jobs.fetch_images import FETCHED, FetchImages
from beam_jobs.learn import RANKED_HASH, Learn
from beam_jobs.metrics import finish_shard
from beam_jobs.near_copies import copies_hints, pack, unpack
from beam_jobs.options.common import CommonOptions, output_folder
from beam_jobs.options.images import ImagesOptions, face_detector, fetch_settings
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.web import WebOptions, http_settings
from beam_jobs.stage_runner import run_stage
from filters.base import CorpusFilter, FileContentFilter, ImageFilter
from filters.consent import Consent
from filters.deny_list import DenyList
from mmc4_pipeline import storage
from mmc4_pipeline.apply_filters import Candidate, apply_filters
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.from_img2dataset.engine import Img2dataset, version_of
from mmc4_pipeline.images.from_img2dataset.prefetched import PrefetchedImages
from mmc4_pipeline.images.from_img2dataset.shards import shard_files, table_of
from mmc4_pipeline.images.partial_shards import PARTIAL
from mmc4_pipeline.images.process_shard import decide_shard
from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.naming import stable_hash
from mmc4_pipeline.progress import Notes
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.stage_folder import StageFolder, fingerprint
from mmc4_pipeline.storage import Inputs
from schemas.image import Image
from schemas.manifest import ImageShards, ImagesInput, ImagesPlan, Manifest, PagesPlan, ShardNote
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
_INDEX = "prefetched"  # the folder of the index for --images_from


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
    fetching = FetchImages(
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
    )
    hints = copies_hints(options, manifest.counts["links"].kept)
    work = ImagesWork(fetching=fetching, recipe=recipe, copies_hints=hints)
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

    fetching: FetchImages
    recipe: Recipe
    copies_hints: Mapping[str, str] = field(default_factory=dict)

    def build(self, pipeline: beam.Pipeline, todo: list[int]) -> PCollection[None]:
        """Build the pipeline: fetch all shards, learn from all of them, then decide the shards that are still to do."""
        fetched, none_remains = self.fetching.build(pipeline)
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

    def ranked_hashes(self, shard: int) -> Iterator[bytes]:
        """Yield rank and perceptual hash, 8 bytes each, of the images that the other filters keep."""
        for image in self._kept(shard):
            yield struct.pack(RANKED_HASH, stable_hash(f"{image.key} {image.position}"), image.phash)

    def hashes(self, shard: int) -> bytes:
        """Return the perceptual hashes of the images that the other filters keep, packed."""
        return pack(image.phash for image in self._kept(shard) if image.phash is not None)

    def _kept(self, shard: int) -> Iterator[Image]:
        filters = self.recipe.of_kind(ImageFilter)
        for image in self.fetching.fetched(shard):
            if image.phash is not None and apply_filters([Candidate(image)], filters, {})[0] is None:
                yield image

    def decide(self, shard: int, packed_hashes: dict[str, bytes]) -> None:
        """Apply the filters to a shard and finish it; `packed_hashes` are what the corpus filters learned, by key."""
        learned = {key: unpack(hashes) for key, hashes in packed_hashes.items()}
        images = decide_shard(self.fetching.fetched(shard), self.recipe, learned)
        links = Counts(seen=sum(link.reason is None for page in self.fetching.pages_of(shard) for link in page.links))
        links.decide(image.reason for image in images)
        folder, shards = self.fetching.folder, self.fetching.shards
        rows = storage.write_records(folder.shard_file("images", shard, shards, "parquet"), images, Image)
        files = [rows, *self.fetching.tar_files(shard)]
        finish_shard(folder, ShardNote(shard=shard, files=files, counts={"links": links}))


def main(argv: list[str], program: str = "mmc4 images") -> None:
    """Run from the command line."""
    run(parse(argv, program, DESCRIPTION, OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("images")
