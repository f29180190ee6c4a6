"""pages: locations + WARC records, or whole WAT or WARC files -> `pages/`: sentences and image links, by site."""

import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from math import ceil
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection

from beam_jobs.command_line import parse
from beam_jobs.metrics import begin_shard, finish_shard, timed
from beam_jobs.options.common import CommonOptions, output_folder
from beam_jobs.options.locate import LocateOptions
from beam_jobs.options.pages import PagesOptions
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.web import WebOptions, http_settings
from beam_jobs.stage_runner import refuse_nothing_kept, run_stage, stage_folder
from mmc4_pipeline import storage
from mmc4_pipeline.c4 import DocumentFields, read_documents
from mmc4_pipeline.commoncrawl.by_range import pages_by_range
from mmc4_pipeline.commoncrawl.by_scan import pages_by_scan
from mmc4_pipeline.commoncrawl.by_wat import pages_by_wat
from mmc4_pipeline.commoncrawl.from_warcs import documents_of_warc, warc_files
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.naming import shard_of
from mmc4_pipeline.pages.captures import decide_captures
from mmc4_pipeline.pages.content import PageContent, rejected
from mmc4_pipeline.pages.page_outcome import pack, unpack
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.pages.page_sorter import PageSorter
from mmc4_pipeline.progress import Notes
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.stage_folder import StageFolder, add_up, fingerprint
from mmc4_pipeline.storage import Inputs
from schemas.capture import Location
from schemas.document import Document, RejectedDocument
from schemas.manifest import LocatePlan, Manifest, PagesInput, PagesPlan, ShardNote
from schemas.page import OutcomeKind, Page, PageOutcome
from schemas.reasons import Reason, Stage
from schemas.statistics import Counts

DESCRIPTION = """\
Read the pages: split their text into sentences and collect their image links.

Reads OUTPUT/locations/ and the pages from Common Crawl, or the WARC files that --warcs names. Writes OUTPUT/pages/: the
pages with their sentences and image links, and which documents were dropped and why. Nothing is requested from the
pages' own sites. This is the second stage of `mmc4 build`, or the first one if --warcs is given.

Examples:
  mmc4 pages --output out
  mmc4 pages --output out --warcs 'crawl/*.warc.gz' --recipe page-text
"""
OPTIONS = (CommonOptions, PagesOptions, WebOptions)
_FILES_AT_ONCE = 16
# Of a WARC file, for one document that is kept: Common Crawl has about 20 kB for a capture, and of C4's crawl every
# seventh or so became a document. It sets the number of shards, which must follow from the input alone.
_WARC_BYTES_PER_DOCUMENT = 140_000
READ = "read"  # the parts of the crawl that were read, each with its note
SOURCES = {"warc": pages_by_range, "wat": pages_by_wat, "warc_scan": pages_by_scan}


def check(options: PipelineOptions) -> None:
    """Raise UserError for options that contradict each other or the recipe."""
    own, recipe = options.view_as(PagesOptions), recipe_of(options)
    message = ""
    if own.documents_per_shard < 1:
        message = "--documents_per_shard: must be at least 1"
    elif own.warcs and options.view_as(LocateOptions).c4:
        message = "--warcs: makes its own documents; leave out --c4, or --warcs"
    elif own.warcs and own.page_source != "warc":
        message = f"--warcs: reads whole WARC files as they are; leave out --page_source {own.page_source}"
    elif own.warcs and recipe.text_source != "page":
        message = (
            f"--warcs: there are no C4 texts for these pages, but recipe {recipe.name} has text_source: "
            f"{recipe.text_source}; take --recipe page-text, or --set text_source=page"
        )
    elif own.page_source == "wat" and recipe.text_source == "page":
        message = "--page_source wat: WAT files hold no text for text_source: page; take warc or warc_scan"
    if message:
        raise UserError(message)


def run(options: PipelineOptions) -> Manifest[PagesPlan]:
    """Run the stage and return its manifest. Documents are those of the locate stage, or the pages of WARC files."""
    check(options)
    own, recipe, output = options.view_as(PagesOptions), recipe_of(options), output_folder(options)
    inputs = Inputs(http_settings(options))
    filters = LoadedFilters.read(recipe.of_stage(Stage.PAGES), inputs)
    source = _given_warcs(own, inputs) if own.warcs else _located(own, recipe, output)
    folder = stage_folder(output, Stage.PAGES)
    plan = PagesPlan(
        shards=source.shards,
        recipe=recipe.part(Stage.PAGES),
        options=source.options | {"documents_per_shard": own.documents_per_shard},
        input=msgspec.structs.replace(source.input, lists=filters.sha256_by_path),
    )
    reading = PageSorter(
        shards=source.shards,
        reader=PageReader(recipe.links, recipe.text_source),
        filters=filters,
    )
    work = PagesWork(source, reading, folder, inputs)
    resume = options.view_as(CommonOptions).resume
    progress = Notes(READ, source.parts_with_pages, "parts of the crawl")
    manifest = run_stage(folder, plan, options, work.build, resume=resume, progress=progress)
    storage.remove_folder(folder.file(READ))
    _check_records(manifest)
    refuse_nothing_kept(folder, manifest, "be read", source.remedy)
    return manifest


@dataclass(frozen=True, slots=True)
class PagesSource:
    """Where the pages come from: `locations` and the `c4` files of their texts, or whole WARC files (`warcs`)."""

    shards: int
    parts: int  # in which the crawl is read, those without any wanted page included
    parts_with_pages: int
    options: dict[str, Any]
    input: PagesInput
    remedy: str
    cc_root: str = ""
    page_source: str = ""
    locations: list[str] = field(default_factory=list)
    c4: list[str] = field(default_factory=list)
    c4_fields: DocumentFields = field(default_factory=DocumentFields)
    warcs: list[str] = field(default_factory=list)


def _located(own: PagesOptions, recipe: Recipe, output: str) -> PagesSource:
    folder = stage_folder(output, Stage.LOCATE)
    located = folder.manifest(LocatePlan)
    locations = [folder.file(file.name) for file in located.files if file.name.startswith("locations-")]
    shards = max(1, ceil(located.counts["documents"].kept / own.documents_per_shard))
    names = {name for path in locations for name in storage.distinct(path, "warc_filename")}
    # Of single records there are as many to a part as to a shard. Whole files are a part each, as far as hashes keep
    # them apart: what is stopped in the middle has to be read again.
    parts = max(1, min(shards, len(names)) if own.page_source == "warc" else len(names))
    return PagesSource(
        shards=shards,
        parts=parts,
        parts_with_pages=len({shard_of(name, parts) for name in names}),
        options={"page_source": own.page_source},
        input=PagesInput(locations=fingerprint(located)),
        remedy="Check --cc_root and --page_source",
        cc_root=located.plan.input.cc_root,
        page_source=own.page_source,
        locations=locations,
        c4=list(located.plan.input.c4) if recipe.text_source == "c4" else [],
        c4_fields=DocumentFields(**located.plan.input.c4_fields),
    )


def _given_warcs(own: PagesOptions, inputs: Inputs) -> PagesSource:
    files = warc_files(inputs, own.warcs)
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:  # on remote storage each look at a file takes a while
        sizes = dict(zip(files, pool.map(inputs.size, files), strict=True))
    return PagesSource(
        shards=max(1, ceil(sum(sizes.values()) / (_WARC_BYTES_PER_DOCUMENT * own.documents_per_shard))),
        parts=len(files),
        parts_with_pages=len(files),
        options={},
        input=PagesInput(warcs=sizes),
        remedy="Check --warcs, and the recipe's text filters",
        warcs=files,
    )


def _check_records(manifest: Manifest[PagesPlan]) -> None:
    """Raise ArithmeticError where not every HTML page of the WARC files has become a document, kept or dropped."""
    documents, records = manifest.counts["documents"], manifest.counts.get("records")
    if records and records.kept != documents.seen:
        raise ArithmeticError(f"{records.kept} pages were read, but {documents.seen} documents decided")


class PagesWork:
    """The wiring of the stage. Shards hold whole sites, so that the images stage can be polite without coordination.

    First the crawl is read, which takes days where there is much of it: part by part, each a file in `read/` with a
    note, which a resumed run does not read again. Then pages and texts go to the shards of their sites.
    """

    def __init__(self, source: PagesSource, reading: PageSorter, folder: StageFolder, inputs: Inputs) -> None:
        self._source, self._reading, self._folder, self._inputs = source, reading, folder, inputs

    def build(self, pipeline: beam.Pipeline, todo: list[int]) -> None:
        """Wire the pipeline: pages come by part of the crawl, C4's texts by C4 file."""
        wanted, done = frozenset(todo), frozenset(self._folder.done(READ))
        parts = self._warcs(pipeline) if self._source.warcs else self._locations(pipeline, done)
        pages = parts | "Read part" >> beam.MapTuple(self._read_part) | "Load part" >> beam.FlatMap(self._load, wanted)
        texts = (
            pipeline
            | "C4 files" >> beam.Create(self._source.c4)
            | "Spread C4 files" >> beam.Reshuffle()
            | "Read texts" >> beam.FlatMap(self._texts, wanted)
        )
        every_shard = pipeline | "Shards" >> beam.Create([(shard, None) for shard in todo])
        (
            {"pages": pages, "texts": texts, "shards": every_shard}
            | "Join by shard" >> beam.CoGroupByKey()
            | "Write pages" >> beam.MapTuple(self._write)
        )

    def _locations(self, pipeline: beam.Pipeline, done: frozenset[int]) -> PCollection[tuple[int, Iterable[Location]]]:
        new = (
            pipeline
            | "Location files" >> beam.Create(self._source.locations)
            | "Read locations" >> beam.FlatMap(self._by_part, done).with_output_types(tuple[int, Any])
        )
        # Put together before the GroupByKey: after it, Flink's job server cannot fuse what Flatten joins. Their type is
        # said because it refuses to join what has different coders.
        before = pipeline | "Parts read before" >> beam.Create(
            [(part, None) for part in sorted(done)]
        ).with_output_types(tuple[int, Any])
        located: PCollection[tuple[int, Iterable[Location]]] = (
            (new, before) | beam.Flatten() | "Group by part" >> beam.GroupByKey()
        )
        return located

    def _by_part(self, path: str, done: frozenset[int]) -> Iterator[tuple[int, Location]]:
        for location in storage.read_records(path, Location):
            part = shard_of(location.warc_filename, self._source.parts)
            if part not in done:
                yield part, location

    def _warcs(self, pipeline: beam.Pipeline) -> PCollection[tuple[int, list[str]]]:
        files = [(part, [path]) for part, path in enumerate(self._source.warcs)]
        parts: PCollection[tuple[int, list[str]]] = (
            pipeline | "WARC files" >> beam.Create(files) | "Spread WARC files" >> beam.Reshuffle()
        )
        return parts

    def _read_part(self, part: int, items: Iterable[Any]) -> int:
        """Read a part of the crawl unless that is done; the note comes last."""
        note, file = self._folder.file(f"{READ}/{part:05d}.json"), self._folder.file(f"{READ}/{part:05d}.parquet")
        if not storage.exists(note):
            packed = self._packed_warcs(items) if self._source.warcs else self._packed_locations(items)
            with timed(Stage.PAGES, "read"):
                written = storage.write_records(file, packed, PageOutcome)
            storage.write_json(note, [written])
        return part

    def _packed_locations(self, locations: Iterable[Location]) -> Iterator[PageOutcome]:
        """Read the pages of a part, WARC file by WARC file."""
        read = SOURCES[self._source.page_source]
        ordered = sorted(locations, key=lambda location: (location.warc_filename, location.offset, location.key))
        for warc_filename, of_file in groupby(ordered, key=lambda location: location.warc_filename):
            outcomes = read(self._inputs, self._source.cc_root, warc_filename, list(of_file), self._reading.reader)
            yield from self._reading.packed(outcomes)

    def _packed_warcs(self, paths: Iterable[str]) -> Iterator[PageOutcome]:
        for path in paths:
            records = Counts()
            yield from self._reading.packed(documents_of_warc(self._inputs, path, self._reading.reader, records))
            shard = shard_of(path, self._source.shards)  # that of no site: some shard has to count the file's records
            yield pack(shard, OutcomeKind.COUNTS, {"records": records.to_json()})

    def _load(self, part: int, todo: frozenset[int]) -> Iterator[tuple[int, PageOutcome]]:
        for packed in storage.read_records(self._folder.file(f"{READ}/{part:05d}.parquet"), PageOutcome):
            if packed.shard in todo:
                yield packed.shard, packed

    def _texts(self, path: str, todo: frozenset[int]) -> Iterator[tuple[int, tuple[str, bytes]]]:
        """Read (shard, (source, compressed text)): compressed, because texts are the bulk of what is shuffled."""
        for source, document in read_documents(self._inputs, path, self._source.c4_fields):
            if isinstance(document, Document):
                shard = self._reading.shard(document.url)
                if shard in todo:
                    yield shard, (source, zlib.compress(document.text.encode("utf-8", "replace"), 1))

    @timed(Stage.PAGES, "write")
    def _write(self, shard: int, parts: dict[str, Iterable[Any]]) -> None:
        begin_shard(self._folder, shard)
        texts = dict(parts["texts"])
        packed = list(parts["pages"])
        made = [self._finish(item, texts) for item in packed if item.kind is not OutcomeKind.COUNTS]
        counted = [
            {what: Counts.from_json(count) for what, count in unpack(item).items()}
            for item in packed
            if item.kind is OutcomeKind.COUNTS
        ]
        decided = list(decide_captures(made)) if self._source.warcs else [outcome for _, outcome in made]
        # In the order of the keys, which are hashes: so that a site's pages do not follow one another.
        pages = sorted((page for page in decided if isinstance(page, Page)), key=lambda page: page.key)
        rejects = sorted(
            (item for item in decided if isinstance(item, RejectedDocument)), key=lambda item: (item.key, item.source)
        )
        documents = Counts(seen=len(made))
        documents.decide([*(None for _ in pages), *(reject.reason for reject in rejects)])
        links = Counts(seen=sum(len(page.links) for page in pages))
        links.decide(link.reason for page in pages for link in page.links)
        names = [self._folder.shard_file(stem, shard, self._source.shards) for stem in ("pages", "rejects")]
        files = [
            storage.write_records(names[0], pages, Page),
            storage.write_records(names[1], rejects, RejectedDocument),
        ]
        counts = {"documents": documents, "links": links, **dict(sorted(add_up(counted).items()))}
        finish_shard(self._folder, ShardNote(shard=shard, files=files, counts=counts))

    def _finish(self, packed: PageOutcome, texts: dict[str, bytes]) -> tuple[str, Page | RejectedDocument]:
        """Give the source of what was read and what became of it; where the text is C4's, the page is made here."""
        found = unpack(packed)
        if not isinstance(found, PageContent):
            return packed.source, found
        text = texts.get(packed.source)
        if text is None:
            return packed.source, rejected(found.location, Reason.NO_TEXT, f"{packed.source} has no text")
        return packed.source, self._reading.page(found, zlib.decompress(text).decode("utf-8"))


def main(argv: list[str], program: str = "mmc4 pages") -> None:
    """Run from the command line."""
    run(parse(argv, program, DESCRIPTION, OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("pages")
