"""cut: scores and images -> `dataset/<recipe>/`: applies thresholds, assigns images, writes shards and ledger."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby, takewhile

import apache_beam as beam
import msgspec
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection

from beam_jobs.command_line import parse
from beam_jobs.earlier_stages import EarlierStages, refuse_what_was_not_kept
from beam_jobs.metrics import begin_shard, finish_shard, timed
from beam_jobs.options.common import CommonOptions, output_folder
from beam_jobs.options.dataset import CutOptions, DatasetOptions, dataset_settings
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.web import WebOptions, http_settings
from beam_jobs.stage_runner import run_stage
from filters.base import FileLinkFilter, LinkFilter
from mmc4_pipeline import storage
from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.dataset.column_names import with_columns
from mmc4_pipeline.dataset.cut import cut_shard, ledger_rows
from mmc4_pipeline.dataset.image_tars import ImageTars
from mmc4_pipeline.dataset.shard_numbers import KeptSize, kept_size, numbered, places
from mmc4_pipeline.dataset.statistics import statistics_of_documents
from mmc4_pipeline.dataset.write_shards import DatasetSettings, write_indexes, write_shard
from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.report.page import write_report
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.scoring.folders import FoundScores, find_scores, joined, side_by_side
from mmc4_pipeline.stage_folder import StageFolder, fingerprint
from mmc4_pipeline.storage import Inputs
from mmc4_pipeline.url_filter import url_filter, urls_of
from schemas.columns import CLIP_COLUMNS, Column
from schemas.image import Image
from schemas.ledger import ledger_record
from schemas.manifest import CLIP, CutInput, CutPlan, Manifest, ShardNote, WrittenFile
from schemas.page import Page
from schemas.reasons import Stage
from schemas.score import DocumentScores
from schemas.statistics import Counts

DESCRIPTION = """\
Apply a recipe: drop images below its thresholds, assign the others to sentences, and write the dataset.

Reads what the earlier stages wrote. Writes OUTPUT/dataset/RECIPE/: the shards, a ledger with the fate of every image
link, and a report page. This is the last stage of `mmc4 build`; it takes minutes, so run it again with other recipes to
make several datasets from the same images.

Example:
  mmc4 cut --output out --recipe mmc4-core
"""
OPTIONS = (CommonOptions, CutOptions, DatasetOptions, WebOptions)
KEPT = "kept"  # the folder of notes of the size of what each image shard keeps


def run(options: PipelineOptions, scores: Sequence[str] = ()) -> Manifest[CutPlan]:
    """Run the stage and return its manifest; `scores` are the folders of scores that `build` has just made."""
    recipe, settings, output = recipe_of(options), dataset_settings(options), output_folder(options)
    names = scores or options.view_as(CutOptions).scores or recipe.score_names or (CLIP,)
    scored = side_by_side(find_scores(output, names))
    columns = tuple(column for item in scored for column in item.columns)
    earlier = EarlierStages.read(output, scored[0])
    refuse_what_was_not_kept(recipe, earlier, scored, output)
    filters = LoadedFilters.read(recipe.of_kind(FileLinkFilter), Inputs(http_settings(options)))
    folder = stage_folder(output, Stage.CUT, recipe.name)
    fingerprints = {stage.value: fingerprint(manifest) for stage, manifest in earlier.all().items()}
    plan = CutPlan(
        shards=earlier.score.plan.shards,
        name=recipe.name,
        recipe=recipe.to_json(),
        options=settings.plan(),
        input=CutInput(
            scores=scored[0].name,
            **fingerprints,
            more_scores={item.name: item.fingerprint for item in scored[1:]},
            columns=None if columns == CLIP_COLUMNS else columns,
            published=earlier.pages.plan.input.layout,
            lists=filters.sha256_by_path,
        ),
        face_detector=earlier.images.plan.face_detector,
        before={stage: manifest.counts for stage, manifest in earlier.all().items()},
    )
    work = CutWork(
        pages=stage_folder(output, Stage.PAGES),
        images=stage_folder(output, Stage.IMAGES),
        scores=tuple(scored),
        columns=columns,
        folder=folder,
        shards=plan.shards,
        recipe=with_columns(recipe, columns),
        filters=filters,
        settings=settings,
    )
    resume = options.view_as(CommonOptions).resume
    return run_stage(folder, plan, options, work.build, resume=resume, after=partial(_describe, settings))


def _describe(settings: DatasetSettings, folder: StageFolder) -> None:
    """Write what follows from the manifest."""
    write_indexes(folder, settings.formats.values())
    write_report(folder)


@dataclass(frozen=True)
class CutWork:
    """The inputs and settings of the stage's steps, and the pipeline that they form.

    A shard of the dataset has documents of one or several neighbouring image shards, and is written together with the
    first of these. So that any worker can write it, each image shard is cut twice: first to count the size of its kept
    documents, from which the numbers of all shards follow, and then to write those that begin in it. The documents of
    following image shards that fill the last of these are cut once more.
    """

    pages: StageFolder
    images: StageFolder
    scores: tuple[FoundScores, ...]
    columns: tuple[Column, ...]
    folder: StageFolder
    shards: int
    recipe: Recipe
    filters: LoadedFilters
    settings: DatasetSettings

    def build(self, pipeline: beam.Pipeline, todo: list[int]) -> PCollection[None]:
        """Wire the pipeline for some of the shards."""
        every = pipeline | "All shards" >> beam.Create(list(range(self.shards)))
        counted = every | "Spread all" >> beam.Reshuffle() | "Count" >> beam.Map(self.count)
        unfinished = pipeline | "To do" >> beam.Create(todo)
        written: PCollection[None] = (
            pipeline
            | "Begin" >> beam.Impulse()
            | "Number" >> beam.FlatMap(self.number, beam.pvalue.AsList(counted), beam.pvalue.AsIter(unfinished))
            | "Spread shards" >> beam.Reshuffle()
            | "Write" >> beam.Map(self.write)
        )
        return written

    def count(self, shard: int) -> tuple[int, int, int]:
        """Return an image shard and the size of its kept documents, which is noted for resumed runs."""
        note = self.folder.note_file(shard, KEPT)
        if not storage.exists(note):
            storage.write_json(note, kept_size(self._cut(*self._read(shard)), self.settings.shard_bytes))
        size = self._kept_size(shard)
        return shard, size.bytes, size.last

    def number(
        self, _begin: bytes, counted: list[tuple[int, int, int]], todo: Iterable[int]
    ) -> Iterator[tuple[int, int, int, int]]:
        """Yield each image shard to do, its place (start and first), and the number of the dataset's shards."""
        sizes = (KeptSize(size, last) for _, size, last in sorted(counted))
        *found, end = places(sizes, self.settings.shard_bytes)
        for shard in todo:
            yield shard, found[shard].start, found[shard].first, end.first

    @timed(Stage.CUT, "write")
    def write(self, element: tuple[int, int, int, int]) -> None:
        """Write the dataset's shards that begin in an image shard, its ledger and its note."""
        shard, start, first, shards = element
        begin_shard(self.folder, shard)
        pages, images, scores = self._read(shard)
        documents = list(self._cut(pages, images, scores))
        own = list(numbered(documents, start, self.settings.shard_bytes))
        begun = [(number, document) for number, document in own if number >= first]
        files = self._write_shards(shard, begun, start, shards) if begun else []
        names = {document.page.key: self.settings.named_in_ledger(number, shards) for number, document in own}
        note = ShardNote(
            shard=shard,
            files=[*files, self._write_ledger(shard, documents, names)],
            counts=_counts(pages, scores, documents),
            documents_in_shard=dict(Counter(number for number, _ in own)),
            statistics=statistics_of_documents(documents, shard, self.columns).to_json(),
            urls=url_filter(urls_of(pages)),
        )
        finish_shard(self.folder, note)

    def _kept_size(self, shard: int) -> KeptSize:
        return storage.read_json(self.folder.note_file(shard, KEPT), KeptSize)  # type: ignore[no-any-return]

    def _read(self, shard: int) -> tuple[list[Page], list[Image], list[DocumentScores]]:
        pages = storage.read_records(self.pages.shard_file("pages", shard, self.shards), Page)
        images = storage.read_records(self.images.shard_file("images", shard, self.shards), Image)
        return list(pages), list(images), joined(self.scores, shard)

    def _cut(self, pages: list[Page], images: list[Image], scores: list[DocumentScores]) -> Iterator[CutDocument]:
        with_lists = replace(self.recipe, filters=self.recipe.filters | self.filters.of_kind(LinkFilter))
        return cut_shard(pages, images, scores, with_lists, self.columns)

    def _write_shards(
        self, shard: int, begun: Sequence[tuple[int, CutDocument]], start: int, shards: int
    ) -> list[WrittenFile]:
        """Write the dataset's shards that begin in an image shard; `begun` has its documents of these, with numbers."""
        end = start + self._kept_size(shard).bytes
        with ImageTars(lambda at: self.images.shard_file("images", at, self.shards, "tar"), shard) as tars:
            documents = chain(begun, self._following(shard, begun[-1][0], end, tars))
            return [
                file
                for number, part in groupby(documents, key=lambda pair: pair[0])
                for file in write_shard(
                    self.folder,
                    self.settings.formats.values(),
                    number,
                    shards,
                    (document for _, document in part),
                    tars.read,
                )
            ]

    def _following(self, shard: int, number: int, start: int, tars: ImageTars) -> Iterator[tuple[int, CutDocument]]:
        """Yield the documents of the dataset's shard `number` that are in the image shards after `shard`."""
        for following in range(shard + 1, self.shards):
            if start // self.settings.shard_bytes > number:
                return
            size = self._kept_size(following).bytes
            if size:
                tars.shard = following
                documents = numbered(self._cut(*self._read(following)), start, self.settings.shard_bytes)
                yield from takewhile(lambda pair: pair[0] == number, documents)
                start += size

    def _write_ledger(self, shard: int, documents: list[CutDocument], names: Mapping[str, str]) -> WrittenFile:
        rows = (
            row for document in documents for row in ledger_rows(document, names.get(document.page.key), self.columns)
        )
        path = self.folder.shard_file("ledger/ledger", shard, self.shards)
        file = storage.write_records(path, rows, ledger_record(self.columns))
        return msgspec.structs.replace(file, name=f"ledger/{file.name}")


def _counts(pages: list[Page], scores: list[DocumentScores], documents: list[CutDocument]) -> dict[str, Counts]:
    """Count documents and scored links. A page that was taken down is not a document: only its links remain."""
    texts = sum(not page.taken_down for page in pages)
    counts = {"documents": Counts(seen=texts), "links": Counts(seen=_scored(scores))}
    counts["documents"].decide(document.reason for document in documents if not document.page.taken_down)
    counts["links"].decide(reason for document in documents for reason in document.cut_reasons())
    return counts


def _scored(scores: list[DocumentScores]) -> int:
    return sum(score.reason is None for document in scores for score in document.images)


def main(argv: list[str], program: str = "mmc4 cut") -> None:
    """Run from the command line."""
    run(parse(argv, program, DESCRIPTION, OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("cut")
