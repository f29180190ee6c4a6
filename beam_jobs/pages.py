"""pages: locations + WARC records, or whole WAT or WARC files -> `pages/`: sentences and image links, by site."""

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import TaggedOutput

from beam_jobs.options import (
    CommonOptions,
    LocateOptions,
    PagesOptions,
    WebOptions,
    http_settings,
    output_folder,
    parse,
    recipe_of,
)
from beam_jobs.running import refuse_nothing_kept, run_stage, stage_folder
from filters.kinds import LinkFilter, TextFilter
from mmc4_pipeline import http_client, storage
from mmc4_pipeline.c4 import DocumentFields, read_documents
from mmc4_pipeline.commoncrawl.documents import documents_of_warc, warc_files
from mmc4_pipeline.commoncrawl.ranges import pages_by_range
from mmc4_pipeline.commoncrawl.records import PageContent, rejected
from mmc4_pipeline.commoncrawl.warc import pages_by_scan
from mmc4_pipeline.commoncrawl.wat import pages_by_wat
from mmc4_pipeline.dataset.stage_folder import StageFolder, add_up, fingerprint
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.keys import shard_of, site_of
from mmc4_pipeline.pages.c4_lines import C4Lines, c4_lines
from mmc4_pipeline.pages.captures import decide_captures
from mmc4_pipeline.pages.packed import PackedPage, pack, unpack
from mmc4_pipeline.pages.page import make_page
from mmc4_pipeline.pages.reader import PageReader
from mmc4_pipeline.recipe import Recipe
from schemas.capture import Location
from schemas.document import Document, RejectedDocument
from schemas.page import Page
from schemas.reasons import Reason, Stage
from schemas.statistics import Counts

OPTIONS = (CommonOptions, WebOptions, PagesOptions)
_FILES_AT_ONCE = 16
# Of a WARC file, for one document that is kept: Common Crawl has about 20 kB for a capture, and of C4's crawl every
# seventh or so became a document. It sets the number of shards, which must follow from the input alone.
_WARC_BYTES_PER_DOCUMENT = 140_000
_OUTCOMES, _TALLIES = "outcomes", "tallies"
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


def run(options: PipelineOptions) -> dict[str, Any]:
    """Run the stage and give its manifest. Documents are those of the locate stage, or the pages of WARC files."""
    check(options)
    own, recipe, output = options.view_as(PagesOptions), recipe_of(options), output_folder(options)
    lists: dict[str, str] = {}  # what text filters read: sha256 by path

    def read(path: str) -> bytes:
        content = storage.read_bytes(path)
        lists[path] = hashlib.sha256(content).hexdigest()
        return content

    text_filters = {key: item.prepared(read) for key, item in recipe.of_kind(TextFilter).items()}
    source = _given_warcs(own) if own.warcs else _located(own, recipe, output)
    folder = stage_folder(output, Stage.PAGES)
    plan = {
        "recipe": recipe.part(Stage.PAGES),
        "options": source.options | {"documents_per_shard": own.documents_per_shard},
        "input": source.input | ({"lists": lists} if lists else {}),
    }
    reader, filters = PageReader(recipe.links, recipe.text_source), tuple(recipe.of_kind(LinkFilter).values())
    work = PagesWork(source, reader, filters, text_filters, folder, http_settings(options))
    manifest = run_stage(folder, plan, source.shards, options, work.build, resume=options.view_as(CommonOptions).resume)
    _check_records(manifest)
    refuse_nothing_kept(folder, manifest, "be read", source.remedy)
    return manifest


@dataclass(frozen=True, slots=True)
class PagesSource:
    """Where the pages come from: `locations` and the `c4` files of their texts, or whole WARC files (`warcs`)."""

    shards: int
    options: dict[str, Any]
    input: dict[str, Any]
    remedy: str
    cc_root: str = ""
    page_source: str = ""
    locations: list[str] = field(default_factory=list)
    c4: list[str] = field(default_factory=list)
    c4_fields: DocumentFields = field(default_factory=DocumentFields)
    warcs: list[str] = field(default_factory=list)


def _located(own: PagesOptions, recipe: Recipe, output: str) -> PagesSource:
    folder = stage_folder(output, Stage.LOCATE)
    located = folder.manifest()
    return PagesSource(
        shards=max(1, ceil(located["counts"]["documents"]["kept"] / own.documents_per_shard)),
        options={"page_source": own.page_source},
        input={"locations": fingerprint(located)},
        remedy="Check --cc_root and --page_source",
        cc_root=located["input"]["cc_root"],
        page_source=own.page_source,
        locations=[folder.file(file["name"]) for file in located["files"] if file["name"].startswith("locations-")],
        c4=list(located["input"]["c4"]) if recipe.text_source == "c4" else [],
        c4_fields=DocumentFields(**located["input"]["c4_fields"]),
    )


def _given_warcs(own: PagesOptions) -> PagesSource:
    files = warc_files(own.warcs)
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:  # on remote storage each look at a file takes a while
        sizes = dict(zip(files, pool.map(storage.size, files), strict=True))
    return PagesSource(
        shards=max(1, ceil(sum(sizes.values()) / (_WARC_BYTES_PER_DOCUMENT * own.documents_per_shard))),
        options={},
        input={"warcs": sizes},
        remedy="Check --warcs, and the recipe's text filters",
        warcs=files,
    )


def _check_records(manifest: dict[str, Any]) -> None:
    """Raise ArithmeticError where not every HTML page of the WARC files has become a document, kept or dropped."""
    counts = manifest["counts"]
    if "records" in counts and counts["records"]["kept"] != counts["documents"]["in"]:
        message = f"{counts['records']['kept']} pages were read, but {counts['documents']['in']} documents decided"
        raise ArithmeticError(message)


class PagesWork:
    """The wiring of the stage. Shards hold whole sites, so that the images stage can be polite without coordination."""

    def __init__(
        self,
        source: PagesSource,
        reader: PageReader,
        filters: tuple[LinkFilter, ...],
        text_filters: dict[str, TextFilter],
        folder: StageFolder,
        http: http_client.HttpSettings,
    ) -> None:
        self._http = http
        self._source, self._shards, self._folder = source, source.shards, folder
        self._reader, self._filters, self._text_filters = reader, filters, text_filters

    def build(self, pipeline: beam.Pipeline, todo: list[int]) -> None:
        """Wire the pipeline: pages come by WARC file, C4's texts by C4 file, and both go to the shard of their site."""
        wanted = frozenset(todo)
        pages = self._pages_of_warcs(pipeline, wanted) if self._source.warcs else self._located_pages(pipeline, wanted)
        texts = (
            pipeline
            | "C4 files" >> beam.Create(self._source.c4)
            | "Spread C4 files" >> beam.Reshuffle()
            | "Read texts" >> beam.FlatMap(self._texts, wanted)
        )
        every_shard = pipeline | "Shards" >> beam.Create([(shard, None) for shard in todo])
        (
            {"outcomes": pages[_OUTCOMES], "tallies": pages[_TALLIES], "texts": texts, "shards": every_shard}
            | "Join by shard" >> beam.CoGroupByKey()
            | "Write pages" >> beam.Map(self._write)
        )

    def _located_pages(self, pipeline: beam.Pipeline, todo: frozenset[int]) -> Any:  # noqa: ANN401 - Beam's, by output
        return (
            pipeline
            | "Location files" >> beam.Create(self._source.locations)
            | "Read locations" >> beam.FlatMap(self._by_warc, todo)
            | "Group by WARC file" >> beam.GroupByKey()
            | "Read pages" >> beam.FlatMap(self._read_pages).with_outputs(_TALLIES, main=_OUTCOMES)
        )

    def _pages_of_warcs(self, pipeline: beam.Pipeline, todo: frozenset[int]) -> Any:  # noqa: ANN401 - Beam's, by output
        return (
            pipeline
            | "WARC files" >> beam.Create(self._source.warcs)
            | "Spread WARC files" >> beam.Reshuffle()
            | "Read WARC files" >> beam.FlatMap(self._read_warc, todo).with_outputs(_TALLIES, main=_OUTCOMES)
        )

    def _by_warc(self, path: str, todo: frozenset[int]) -> Iterator[tuple[str, Location]]:
        for location in storage.read_records(path, Location):
            if shard_of(location.site, self._shards) in todo:
                yield location.warc_filename, location

    def _read_pages(self, item: tuple[str, Iterable[Location]]) -> Iterator[Any]:
        http_client.use(self._http)
        warc_filename, locations = item
        read = SOURCES[self._source.page_source]
        yield from self._to_shards(read(self._source.cc_root, warc_filename, list(locations), self._reader))

    def _read_warc(self, path: str, todo: frozenset[int]) -> Iterator[Any]:
        http_client.use(self._http)
        records = Counts()
        yield from self._to_shards(documents_of_warc(path, self._reader, records, lambda url: self._shard(url) in todo))
        shard = shard_of(path, self._shards)  # that of no site: some shard has to count the file's records
        if shard in todo:
            yield TaggedOutput(_TALLIES, (shard, {"records": records.to_json()}))

    def _shard(self, url: str) -> int:
        return shard_of(site_of(url), self._shards)

    def _to_shards(self, outcomes: Iterable[PageContent | RejectedDocument]) -> Iterator[Any]:
        """Send outcomes to their shards. A page's own text is judged here, so that few texts have to be shuffled."""
        lines: dict[int, Counts] = defaultdict(Counts)
        for outcome in outcomes:
            shard = self._shard(outcome.location.url if isinstance(outcome, PageContent) else outcome.url)
            if isinstance(outcome, PageContent) and outcome.text is not None:
                cleaned = c4_lines(outcome.text)
                lines[shard] += cleaned.counts
                yield shard, self._judged(outcome, cleaned)
            else:
                yield shard, outcome
        for shard, counts in lines.items():
            yield TaggedOutput(_TALLIES, (shard, {"lines": counts.to_json()}))

    def _judged(self, outcome: PageContent, cleaned: C4Lines) -> PackedPage | RejectedDocument:
        if not cleaned.text:
            dropped = ", ".join(f"{reason} {count}" for reason, count in sorted(cleaned.counts.dropped.items()))
            detail = f"none of the page's {cleaned.counts.seen} lines is prose by C4's rules ({dropped or 'no text'})"
            return rejected(outcome.location, Reason.NO_TEXT, detail)
        page = make_page(outcome, cleaned.text, self._filters, self._text_filters)
        return pack(page, outcome.location.source) if isinstance(page, Page) else page

    def _texts(self, path: str, todo: frozenset[int]) -> Iterator[tuple[int, tuple[str, bytes]]]:
        """Read (shard, (source, compressed text)): compressed, because texts are the bulk of what is shuffled."""
        http_client.use(self._http)
        for source, document in read_documents(path, self._source.c4_fields):
            if isinstance(document, Document):
                shard = self._shard(document.url)
                if shard in todo:
                    yield shard, (source, zlib.compress(document.text.encode("utf-8", "replace"), 1))

    def _write(self, item: tuple[int, dict[str, Iterable[Any]]]) -> None:
        shard, parts = item
        texts = dict(parts["texts"])
        made = [self._finish(outcome, texts) for outcome in parts["outcomes"]]
        decided = list(decide_captures(made)) if self._source.warcs else [outcome for _, outcome in made]
        # In the order of the keys, which are hashes: so that a site's pages do not follow one another.
        pages = sorted((page for page in decided if isinstance(page, Page)), key=lambda page: page.key)
        rejects = sorted(
            (item for item in decided if isinstance(item, RejectedDocument)), key=lambda item: (item.key, item.source)
        )
        documents = Counts(seen=len(made))
        documents.decide([*(None for _ in pages), *(Reason(reject.reason) for reject in rejects)])
        links = Counts(seen=sum(len(page.links) for page in pages))
        links.decide(link.reason for page in pages for link in page.links)
        names = [self._folder.shard_file(stem, shard, self._shards) for stem in ("pages", "rejects")]
        files = [
            storage.write_records(names[0], pages, Page),
            storage.write_records(names[1], rejects, RejectedDocument),
        ]
        self._folder.finish_shard(
            shard, files, {"documents": documents, "links": links, **dict(sorted(add_up(parts["tallies"]).items()))}
        )

    def _finish(
        self, outcome: PageContent | PackedPage | RejectedDocument, texts: dict[str, bytes]
    ) -> tuple[str, Page | RejectedDocument]:
        """Give the source of an outcome and what became of it."""
        if isinstance(outcome, RejectedDocument):
            return outcome.source, outcome
        if isinstance(outcome, PackedPage):
            return outcome.source, unpack(outcome)
        source = outcome.location.source
        text = texts.get(source)
        if text is None:
            return source, rejected(outcome.location, Reason.NO_TEXT, f"{source} has no text")
        return source, make_page(outcome, zlib.decompress(text).decode("utf-8"), self._filters, self._text_filters)


def main(argv: list[str], program: str = "mmc4 pages") -> None:
    """Run from the command line."""
    run(parse(argv, program, __doc__ or "", OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("pages")
