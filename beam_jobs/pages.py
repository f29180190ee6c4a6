"""pages: locations + WARC records, or whole WAT or WARC files -> `pages/`: sentences and image links, by site."""

import zlib
from collections.abc import Iterable, Iterator
from math import ceil
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.options import CommonOptions, PagesOptions, WebOptions, http_settings, output_folder, parse, recipe_of
from beam_jobs.running import refuse_nothing_kept, run_stage, stage_folder
from filters.kinds import LinkFilter
from mmc4_pipeline import http_client, storage
from mmc4_pipeline.c4 import read_documents
from mmc4_pipeline.commoncrawl.ranges import pages_by_range
from mmc4_pipeline.commoncrawl.records import PageContent, rejected
from mmc4_pipeline.commoncrawl.warc import pages_by_scan
from mmc4_pipeline.commoncrawl.wat import pages_by_wat
from mmc4_pipeline.dataset.stage_folder import StageFolder, fingerprint
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.keys import shard_of, site_of
from mmc4_pipeline.pages.page import make_page
from mmc4_pipeline.pages.reader import PageReader
from schemas.capture import Location
from schemas.document import Document, RejectedDocument
from schemas.page import Page
from schemas.reasons import Reason, Stage
from schemas.statistics import Counts

OPTIONS = (CommonOptions, WebOptions, PagesOptions)
SOURCES = {"warc": pages_by_range, "wat": pages_by_wat, "warc_scan": pages_by_scan}


def run(options: PipelineOptions) -> dict[str, Any]:
    """Run the stage and give its manifest. Documents and crawl are those of the locate stage."""
    own, recipe, output = options.view_as(PagesOptions), recipe_of(options), output_folder(options)
    locations = stage_folder(output, Stage.LOCATE)
    located = locations.manifest()
    if own.documents_per_shard < 1:
        message = "--documents_per_shard: must be at least 1"
        raise UserError(message)
    shards = max(1, ceil(located["counts"]["documents"]["kept"] / own.documents_per_shard))
    folder = stage_folder(output, Stage.PAGES)
    plan = {
        "recipe": recipe.part(Stage.PAGES),
        "options": {"page_source": own.page_source, "documents_per_shard": own.documents_per_shard},
        "input": {"locations": fingerprint(located)},
    }
    reader, filters = PageReader(recipe.links), tuple(recipe.of_kind(LinkFilter).values())
    http = http_settings(options)
    work = PagesWork(own.page_source, located["input"]["cc_root"], shards, reader, filters, folder, http)
    names = [file["name"] for file in located["files"] if file["name"].startswith("locations-")]

    def build(pipeline: beam.Pipeline, todo: list[int]) -> None:
        work.build(pipeline, [locations.file(name) for name in names], list(located["input"]["c4"]), todo)

    manifest = run_stage(folder, plan, shards, options, build, resume=options.view_as(CommonOptions).resume)
    refuse_nothing_kept(folder, manifest, "be read", "Check --cc_root and --page_source")
    return manifest


class PagesWork:
    """The wiring of the stage. Shards hold whole sites, so that the images stage can be polite without coordination."""

    def __init__(
        self,
        source: str,
        cc_root: str,
        shards: int,
        reader: PageReader,
        filters: tuple[LinkFilter, ...],
        folder: StageFolder,
        http: http_client.HttpSettings,
    ) -> None:
        self._http = http
        self._source, self._cc_root, self._shards, self._folder = source, cc_root, shards, folder
        self._reader, self._filters = reader, filters

    def build(self, pipeline: beam.Pipeline, locations: list[str], c4: list[str], todo: list[int]) -> None:
        """Wire the pipeline: pages come by WARC file, texts by C4 file, and both go to the shard of their site."""
        outcomes = (
            pipeline
            | "Location files" >> beam.Create(locations)
            | "Read locations" >> beam.FlatMap(self._by_warc, frozenset(todo))
            | "Group by WARC file" >> beam.GroupByKey()
            | "Read pages" >> beam.FlatMap(self._read_pages)
        )
        texts = (
            pipeline
            | "C4 files" >> beam.Create(c4)
            | "Spread C4 files" >> beam.Reshuffle()
            | "Read texts" >> beam.FlatMap(self._texts, frozenset(todo))
        )
        every_shard = pipeline | "Shards" >> beam.Create([(shard, None) for shard in todo])
        (
            {"outcomes": outcomes, "texts": texts, "shards": every_shard}
            | "Join by shard" >> beam.CoGroupByKey()
            | "Write pages" >> beam.Map(self._write)
        )

    def _by_warc(self, path: str, todo: frozenset[int]) -> Iterator[tuple[str, Location]]:
        for location in storage.read_records(path, Location):
            if shard_of(location.site, self._shards) in todo:
                yield location.warc_filename, location

    def _read_pages(self, item: tuple[str, Iterable[Location]]) -> Iterator[tuple[int, PageContent | RejectedDocument]]:
        http_client.use(self._http)
        warc_filename, locations = item
        for outcome in SOURCES[self._source](self._cc_root, warc_filename, list(locations), self._reader):
            url = outcome.location.url if isinstance(outcome, PageContent) else outcome.url
            yield shard_of(site_of(url), self._shards), outcome

    def _texts(self, path: str, todo: frozenset[int]) -> Iterator[tuple[int, tuple[str, bytes]]]:
        """Read (shard, (source, compressed text)): compressed, because texts are the bulk of what is shuffled."""
        http_client.use(self._http)
        for source, document in read_documents(path):
            if isinstance(document, Document):
                shard = shard_of(site_of(document.url), self._shards)
                if shard in todo:
                    yield shard, (source, zlib.compress(document.text.encode("utf-8", "replace"), 1))

    def _write(self, item: tuple[int, dict[str, Iterable[Any]]]) -> None:
        shard, parts = item
        texts = dict(parts["texts"])
        made = [self._finish(outcome, texts) for outcome in parts["outcomes"]]
        # In the order of the keys, which are hashes: so that a site's pages do not follow one another.
        pages = sorted((page for page in made if isinstance(page, Page)), key=lambda page: page.key)
        rejects = sorted((item for item in made if isinstance(item, RejectedDocument)), key=lambda reject: reject.key)
        documents = Counts(seen=len(made))
        documents.decide([*(None for _ in pages), *(Reason(reject.reason) for reject in rejects)])
        links = Counts(seen=sum(len(page.links) for page in pages))
        links.decide(link.reason for page in pages for link in page.links)
        names = [self._folder.shard_file(stem, shard, self._shards) for stem in ("pages", "rejects")]
        files = [
            storage.write_records(names[0], pages, Page),
            storage.write_records(names[1], rejects, RejectedDocument),
        ]
        self._folder.finish_shard(shard, files, {"documents": documents, "links": links})

    def _finish(self, outcome: PageContent | RejectedDocument, texts: dict[str, bytes]) -> Page | RejectedDocument:
        if isinstance(outcome, RejectedDocument):
            return outcome
        text = texts.get(outcome.location.source)
        if text is None:
            return rejected(outcome.location, Reason.NO_TEXT, f"{outcome.location.source} is no longer in the C4 file")
        return make_page(outcome, zlib.decompress(text).decode("utf-8"), self._filters)


def main(argv: list[str], program: str = "mmc4 pages") -> None:
    """Run from the command line."""
    run(parse(argv, program, __doc__ or "", OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("pages")
