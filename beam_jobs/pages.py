"""Runs the pages stage: reads located pages, whole WARC files or published documents, and writes `pages/`."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection

from beam_jobs.command_line import parse
from beam_jobs.engines import runs_here
from beam_jobs.metrics import begin_shard, finish_shard, timed
from beam_jobs.options.common import CommonOptions, output_folder
from beam_jobs.options.locate import ChoiceOptions, LocateOptions
from beam_jobs.options.pages import PagesOptions
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.web import WebOptions, http_settings
from beam_jobs.page_sources import LocatedPages, PageSource, WarcPages
from beam_jobs.published_pages import PublishedPages, check_published
from beam_jobs.stage_runner import refuse_nothing_kept, run_before, run_stage
from filters.base import PageFilter
from mmc4_pipeline import storage
from mmc4_pipeline.documents.reading import read_documents
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.naming import numbered
from mmc4_pipeline.pages.content import PageContent, rejected
from mmc4_pipeline.pages.page_outcome import pack_text, text_of, unpack
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.pages.page_sorter import PageSorter
from mmc4_pipeline.pages.runs import Slice, outcomes_of, positions_of, read_slice, read_slices, slices, write_run
from mmc4_pipeline.pages.site_shards import SiteShards, divide, in_order, position
from mmc4_pipeline.progress import Notes
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.stage_folder import StageFolder, add_up
from mmc4_pipeline.storage import Inputs
from mmc4_pipeline.url_filter import url_filter, urls_of
from schemas.document import Document, RejectedDocument
from schemas.manifest import LocateInput, LocatePlan, Manifest, PagesPlan, ShardNote
from schemas.page import OutcomeKind, Page, PageOutcome
from schemas.reasons import Reason, Stage
from schemas.statistics import Counts

_log = logging.getLogger(__name__)

DESCRIPTION = """\
Read the pages: split their text into sentences and collect their image links.

Reads OUTPUT/locations/ and the pages from Common Crawl, or the files that --warcs or --published names. Writes
OUTPUT/pages/: the pages with their sentences and image links, and which documents were dropped and why. Nothing is
requested from the pages' own sites. This is the second stage of `mmc4 build`, or the first one if --warcs or
--published is given.

Examples:
  mmc4 pages --output out
  mmc4 pages --output out --warcs 'crawl/*.warc.gz' --recipe page-text
"""
OPTIONS = (CommonOptions, ChoiceOptions, PagesOptions, WebOptions)
READ = "read"  # the parts of the crawl that were read, each with its note
TEXTS = "texts"  # the same for the C4 files
_Loaded = bytes | tuple[str, int, Slice]  # a slice of what was read; or the step and part that it is in, and where


def check(options: PipelineOptions) -> None:
    """Raise UserError for options that contradict each other or the recipe."""
    own, recipe = options.view_as(PagesOptions), recipe_of(options)
    if own.documents_per_shard < 1:
        raise UserError("--documents_per_shard: must be at least 1")
    if recipe.assignment.method == "published" and not own.published:
        raise UserError(
            f"recipe {recipe.name}: assignment: published needs documents that were published with assignments; "
            "give them as --published, or choose another --assignment"
        )
    if own.published:
        check_published(options, recipe)
    elif own.warcs:
        _check_warcs(options, own, recipe)
    elif own.page_source == "wat" and recipe.text_source == "page":
        raise UserError("--page_source wat: WAT files have no text for text_source: page; use warc or warc_scan")
    elif own.page_source == "wat" and (needing := recipe.needing_places):
        raise UserError(
            f"--page_source wat: WAT files have no text, so images have no places, but recipe {recipe.name} needs "
            f"them for {', '.join(needing)}; use --page_source warc or warc_scan"
        )


def _check_warcs(options: PipelineOptions, own: PagesOptions, recipe: Recipe) -> None:
    choice = options.view_as(ChoiceOptions)
    if options.view_as(LocateOptions).c4:
        raise UserError("--warcs: makes its own documents; leave out --c4, or --warcs")
    if choice.limit is not None or choice.sample is not None:
        raise UserError("--limit and --sample: choose among documents of --c4; with --warcs, give fewer WARC files")
    if own.page_source != "warc":
        raise UserError(f"--warcs: reads whole WARC files; leave out --page_source {own.page_source}")
    if recipe.text_source != "page":
        raise UserError(
            f"--warcs: there are no C4 texts for these pages, but recipe {recipe.name} has text_source: "
            f"{recipe.text_source}; use --recipe page-text, or --set text_source=page"
        )


def _check_choice(choice: ChoiceOptions, located: LocateInput) -> None:
    """Raise UserError if other documents are to be chosen than those that were located."""
    for name in ("limit", "sample"):
        if getattr(choice, name) not in (None, getattr(located, name)):
            raise UserError(f"--{name}: the documents were chosen when they were located; give it to `mmc4 locate`")


def run(options: PipelineOptions) -> Manifest[PagesPlan]:
    """Run the stage and return its manifest. Documents are those of the locate stage, or the pages of WARC files."""
    check(options)
    own, recipe, output = options.view_as(PagesOptions), recipe_of(options), output_folder(options)
    inputs = Inputs(http_settings(options))
    filters = LoadedFilters.read(recipe.of_stage(Stage.PAGES), inputs)
    if own.published:
        source: PageSource = PublishedPages.of(options, recipe, inputs)
    elif own.warcs:
        source = WarcPages.of(own, inputs)
    else:
        located = stage_folder(output, Stage.LOCATE)
        _check_choice(options.view_as(ChoiceOptions), located.manifest(LocatePlan).plan.input)
        source = LocatedPages.of(located, own, recipe, inputs)
    folder = stage_folder(output, Stage.PAGES)
    work = PagesWork(
        source=source,
        sorter=PageSorter(PageReader(recipe.links, recipe.text_source, bool(recipe.of_kind(PageFilter))), filters),
        folder=folder,
        limit=own.documents_per_shard,
        by_reference=runs_here(options),
    )
    plan = PagesPlan(
        shards=0,
        recipe=recipe.part(Stage.PAGES),
        options=source.options | {"documents_per_shard": own.documents_per_shard},
        input=msgspec.structs.replace(source.input, lists=filters.sha256_by_path),
        places=source.places,
    )
    manifest = _run(work, plan, options)
    _check_records(manifest)
    refuse_nothing_kept(folder, manifest, "be read", source.remedy)
    return manifest


def _remove_read(folder: StageFolder) -> None:
    for step in (READ, TEXTS):
        storage.remove_folder(folder.file(step))


def _run(work: "PagesWork", plan: PagesPlan, options: PipelineOptions) -> Manifest[PagesPlan]:
    """Divide the documents into shards, after reading them if they have not been counted before, and run the stage.

    `plan` is the stage's plan without the shards.
    """
    folder, resume = work.folder, options.view_as(CommonOptions).resume
    progress = Notes(READ, work.source.parts_with_pages, work.source.unit)
    sites = work.source.site_shards(work.limit)
    if sites is None and folder.has_begun():
        before = storage.read_json(folder.file("plan.json"), PagesPlan)
        plan = msgspec.structs.replace(plan, shards=before.shards, split_sites=before.split_sites)
    if sites is None and not (plan.shards and (folder.is_finished() or work.has_read_all())):
        run_before(folder, plan, options, work.build_reading, resume=resume, progress=progress)
        sites, resume = work.counted_sites(), True
        storage.write_json(folder.file("plan.json"), _with_shards(plan, sites))
    if sites:
        plan = _with_shards(plan, sites)

    def build(pipeline: beam.Pipeline, todo: list[int]) -> PCollection[None]:
        return work.build(pipeline, sites or work.counted_sites(), todo)

    return run_stage(folder, plan, options, build, resume=resume, progress=progress, after=_remove_read)


def _with_shards(plan: PagesPlan, sites: SiteShards) -> PagesPlan:
    return msgspec.structs.replace(plan, shards=sites.shards, split_sites=sites.split_sites)


def _check_records(manifest: Manifest[PagesPlan]) -> None:
    """Raise ArithmeticError unless every page or row that was read became a document, kept or dropped."""
    documents, records = manifest.counts["documents"], manifest.counts.get("records")
    if records and records.kept != documents.seen:
        raise ArithmeticError(f"{records.kept} pages were read, but {documents.seen} documents decided")


@dataclass(frozen=True, kw_only=True)
class PagesWork:
    """The steps of the stage, which Beam sends to its workers.

    First the source is read part by part, each part into a file in `read/` with a note, and each C4 file into one in
    `texts/`. Then pages and texts go to the shards of their sites: a shard has whole sites, or a part of one site, so
    that the images stage can limit the load on each. With `by_reference` only places in those files are shuffled: the
    local runners keep everything that they shuffle in memory.
    """

    source: PageSource
    sorter: PageSorter
    folder: StageFolder
    limit: int
    by_reference: bool

    def build(self, pipeline: beam.Pipeline, sites: SiteShards, todo: list[int]) -> PCollection[None]:
        """Wire the pipeline: pages come from the parts of the source, texts from the C4 files."""
        wanted = frozenset(todo)
        pages = self.build_reading(pipeline) | "Load part" >> beam.FlatMap(self.load, READ, sites, wanted)
        texts = (
            pipeline
            | "C4 files" >> beam.Create(list(enumerate(self.source.c4)))
            | "Spread C4 files" >> beam.Reshuffle()
            | "Read texts" >> beam.MapTuple(self.read_texts)
            | "Load texts" >> beam.FlatMap(self.load, TEXTS, sites, wanted)
        )
        every_shard = pipeline | "Shards" >> beam.Create([(shard, None) for shard in todo])
        written: PCollection[None] = (
            {"pages": pages, "texts": texts, "shards": every_shard}
            | "Join by shard" >> beam.CoGroupByKey()
            | "Write pages" >> beam.Map(self.write_shard, sites.shards)
        )
        return written

    def build_reading(self, pipeline: beam.Pipeline) -> PCollection[int]:
        """Wire the steps that read the source, and return its parts."""
        done = frozenset(self.folder.done(READ))
        parts: PCollection[int] = self.source.parts(pipeline, done) | "Read part" >> beam.MapTuple(self.read_part)
        return parts

    def has_read_all(self) -> bool:
        """Return whether all parts have been read."""
        return len(self.folder.done(READ)) == self.source.parts_with_pages

    def counted_sites(self) -> SiteShards:
        """Divide the documents into shards when all parts have been read."""
        found = [positions_of(self._run_file(READ, part)) for part in sorted(self.folder.done(READ))]
        return divide(in_order(found, sum(map(len, found))), self.limit)

    def _run_file(self, step: str, part: int) -> str:
        return self.folder.file(numbered(step, part))

    def read_part(self, part: int, items: Iterable[Any]) -> int:
        """Read a part unless that is done; the note is written last."""
        self._read(READ, part, lambda: self.source.read(items, self.sorter))
        return part

    def read_texts(self, number: int, path: str) -> int:
        """Read the texts of a C4 file unless that is done; the note is written last."""
        self._read(TEXTS, number, lambda: self._texts(path))
        return number

    def _read(self, step: str, part: int, outcomes: Callable[[], Iterable[PageOutcome]]) -> None:
        note = self.folder.note_file(part, step)
        if not storage.exists(note):
            _log.info("pages: %s: part %d begins", step, part)
            with timed(Stage.PAGES, step):
                written = write_run(self._run_file(step, part), outcomes())
            storage.write_json(note, written)
            _log.info("pages: %s: part %d finished", step, part)

    def _texts(self, path: str) -> Iterator[PageOutcome]:
        first, last_key = self.source.c4_first.get(path), self.source.last_key
        for source, document in read_documents(self.source.inputs, path, self.source.c4_fields, first):
            if isinstance(document, Document) and (last_key is None or document.key <= last_key):
                yield pack_text(position(document.url), document.text, source)

    def load(self, part: int, step: str, sites: SiteShards, todo: frozenset[int]) -> Iterator[tuple[int, _Loaded]]:
        """Yield the slices of a part, or their places in its file, each with its shard."""
        path = self._run_file(step, part)
        if self.by_reference:
            yield from ((shard, (step, part, place)) for shard, place in slices(path, sites) if shard in todo)
        else:
            yield from read_slices(path, sites, todo)

    def _outcomes(self, loaded: Iterable[_Loaded]) -> Iterator[PageOutcome]:
        for item in loaded:
            if isinstance(item, bytes):
                yield from outcomes_of(item)
            else:
                step, part, place = item
                yield from outcomes_of(read_slice(self._run_file(step, part), place))

    @timed(Stage.PAGES, "write")
    def write_shard(self, item: tuple[int, dict[str, Iterable[Any]]], shards: int) -> None:
        """Decide about a shard's documents and write its pages and rejected documents; the note is written last."""
        shard, parts = item
        begin_shard(self.folder, shard)
        texts = {text.source: text for text in self._outcomes(parts["texts"])}
        made, counted = list[tuple[str, Page | RejectedDocument]](), list[dict[str, Counts]]()
        for packed in self._outcomes(parts["pages"]):
            if packed.kind is OutcomeKind.COUNTS:
                counted.append({what: Counts.from_json(count) for what, count in unpack(packed).items()})
            else:
                made.append(self._finish(packed, texts))
        decided = self.source.decide(made)
        # Sorted by key, which is a hash, so that a site's pages do not follow one another.
        pages = sorted((page for page in decided if isinstance(page, Page)), key=lambda page: page.key)
        rejects = sorted(
            (item for item in decided if isinstance(item, RejectedDocument)), key=lambda item: (item.key, item.source)
        )
        documents = Counts(seen=len(made))
        documents.decide([*(None for _ in pages), *(reject.reason for reject in rejects)])
        links = Counts(seen=sum(len(page.links) for page in pages))
        links.decide(link.reason for page in pages for link in page.links)
        names = [self.folder.shard_file(stem, shard, shards) for stem in ("pages", "rejects")]
        files = [
            storage.write_records(names[0], pages, Page),
            storage.write_records(names[1], rejects, RejectedDocument),
        ]
        counts = {"documents": documents, "links": links, **dict(sorted(add_up(counted).items()))}
        urls = url_filter([*urls_of(pages), *(reject.url for reject in rejects)])
        finish_shard(self.folder, ShardNote(shard=shard, files=files, counts=counts, urls=urls))

    def _finish(self, packed: PageOutcome, texts: dict[str, PageOutcome]) -> tuple[str, Page | RejectedDocument]:
        """Return an outcome with the source of its document; a page with C4's text is made here."""
        found = unpack(packed)
        if not isinstance(found, PageContent):
            return packed.source, found
        text = texts.get(packed.source)
        if text is None:
            return packed.source, rejected(found.location, Reason.NO_TEXT, f"{packed.source} has no text")
        return packed.source, self.sorter.page(found, text_of(text))


def main(argv: list[str], program: str = "mmc4 pages") -> None:
    """Run from the command line."""
    run(parse(argv, program, DESCRIPTION, OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("pages")
