"""Runs the locate stage: finds the documents of C4 in an index of Common Crawl, and writes `locations/`.

The documents are read first, and tell the index which captures are wanted. References and captures are joined by shard,
so about as many captures are shuffled as there are documents.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from sys import maxsize
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection

from beam_jobs.command_line import parse
from beam_jobs.locate_cdx import CdxLookUps
from beam_jobs.locate_choice import choose_index
from beam_jobs.locate_columnar import ColumnarIndex
from beam_jobs.locate_documents import InputDocuments
from beam_jobs.locate_rows import EPOCH, Reference, capture_of, in_packs, unpacked
from beam_jobs.metrics import begin_shard, finish_shard, timed
from beam_jobs.options.common import CommonOptions, output_folder
from beam_jobs.options.locate import ChoiceOptions, LocateOptions
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.web import WebOptions, http_settings
from beam_jobs.stage_runner import refuse_nothing_kept, run_stage
from mmc4_pipeline import storage
from mmc4_pipeline.commoncrawl.locate import locate
from mmc4_pipeline.documents.choosing import choose, document_files
from mmc4_pipeline.documents.fields import FORMATS, parse_fields
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.naming import document_key, shard_of
from mmc4_pipeline.pages.site_shards import position
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.storage import Inputs
from mmc4_pipeline.terminal import Console
from mmc4_pipeline.url_filter import url_filter
from schemas.capture import Location
from schemas.document import DocumentReference, RejectedDocument
from schemas.manifest import LocateInput, LocatePlan, Manifest, ShardNote
from schemas.reasons import Stage
from schemas.statistics import Counts

_log = logging.getLogger(__name__)

DESCRIPTION = """\
Find the page of each C4 document in Common Crawl's index.

Reads C4 files and the index of their crawl. Writes OUTPUT/locations/: where in Common Crawl each page is stored, and
which documents were not found. This is the first stage of `mmc4 build`; run it by itself to check the input, or to give
each stage machines of its own.

Example:
  mmc4 locate --output out --c4 'c4/en/*.json.gz' \\
      --cc_root https://data.commoncrawl.org
"""
OPTIONS = (CommonOptions, LocateOptions, ChoiceOptions, WebOptions)
DOCUMENTS_PER_SHARD = 36_000  # whose references and captures fit any worker


@dataclass(frozen=True, kw_only=True)
class LocateWork:
    """The settings of the stage's steps."""

    folder: StageFolder
    documents: InputDocuments
    index: ColumnarIndex | CdxLookUps
    shards: int
    max_seconds_apart: int

    def build(self, pipeline: beam.Pipeline, todo: list[int]) -> PCollection[Any]:
        """Wire the pipeline for some of the shards."""
        remaining = frozenset(todo)
        documents = self.documents.batches(pipeline) | "Read C4" >> beam.ParDo(
            ReadReferences(self, remaining)
        ).with_outputs("wanted", main="references")
        captures = self.index.captures(pipeline, documents.wanted, remaining)
        every_shard = pipeline | "Shards" >> beam.Create([(shard, None) for shard in todo])
        written: PCollection[Any] = (
            {"documents": documents.references, "captures": captures, "shards": every_shard}
            | "Join by shard" >> beam.CoGroupByKey()
            | "Write locations" >> beam.ParDo(WriteLocations(self))
        )
        return written


def run(options: PipelineOptions) -> Manifest[LocatePlan]:
    """Run the stage and return its manifest."""
    own, choice, recipe = options.view_as(LocateOptions), options.view_as(ChoiceOptions), recipe_of(options)
    if not own.c4 or not own.cc_root:
        raise UserError("--c4 and --cc_root are required: the C4 files, and the folder or URL of Common Crawl")
    _check_numbers(choice)
    fields, inputs = parse_fields(own.c4_fields, FORMATS[own.documents_format]), Inputs(http_settings(options))
    folder = stage_folder(output_folder(options), Stage.LOCATE)
    several = fields.crawl is not None or fields.warc is not None
    with Console(stderr=True).status("locate: inspecting the documents and Common Crawl's index"):
        chosen = choose(inputs, document_files(inputs, own.c4), fields, choice.limit)
        expected = min(chosen.expected, choice.sample or maxsize)
        shards = max(1, ceil(expected / DOCUMENTS_PER_SHARD))
        index, described = choose_index(
            own.index, inputs, own.cc_root, recipe.crawl, folder, expected, shards, several_crawls=several
        )
    work = LocateWork(
        folder=folder,
        documents=InputDocuments(
            inputs=inputs, files=tuple(chosen.sizes), fields=fields, first=chosen.first, sample=choice.sample
        ),
        index=index,
        shards=shards,
        max_seconds_apart=recipe.locate.max_seconds_apart,
    )
    plan = LocatePlan(
        shards=shards,
        recipe=recipe.part(Stage.LOCATE),
        input=LocateInput(
            c4=chosen.sizes,
            c4_fields=fields.named(),
            c4_first=chosen.first,
            limit=choice.limit,
            sample=choice.sample,
            cc_root=own.cc_root,
            **described,
        ),
    )
    resume = options.view_as(CommonOptions).resume
    manifest = run_stage(folder, plan, options, work.build, resume=resume, after=_remove_filters)
    if manifest.counts["documents"].seen == 0:
        raise UserError("--c4: the files have no documents; check that they are C4 files")
    refuse_nothing_kept(folder, manifest, "be located", "Check --c4, --cc_root and --crawl")
    return manifest


def _check_numbers(choice: ChoiceOptions) -> None:
    if choice.limit is not None and choice.sample is not None:
        raise UserError("--limit and --sample: choose one of them")
    for name in ("limit", "sample"):
        number = getattr(choice, name)
        if number is not None and number < 1:
            raise UserError(f"--{name}: must be at least 1")


def _remove_filters(folder: StageFolder) -> None:
    storage.remove_folder(folder.file("wanted"))


class ReadReferences(beam.DoFn):
    """Reads a batch; yields (shard, pack of references or rejected document) for the shards that are still to do.

    It also yields what the index needs to know of the documents.
    """

    def __init__(self, work: LocateWork, todo: frozenset[int]) -> None:
        self._work, self._todo = work, todo

    def process(self, batch: tuple[int, str] | bytes) -> Iterator[Any]:
        urls: list[tuple[str, str]] = []
        _log.info("locate: reading %s", "the sample" if isinstance(batch, bytes) else batch[1])
        yield from in_packs(self._by_shard(batch, urls))
        for wanted in self._work.index.wanted(urls, self._todo):
            yield beam.pvalue.TaggedOutput("wanted", wanted)

    def _by_shard(
        self, batch: tuple[int, str] | bytes, urls: list[tuple[str, str]]
    ) -> Iterator[tuple[int, Reference | RejectedDocument]]:
        for found in self._work.documents.read(batch):
            url = found.url if isinstance(found, RejectedDocument) else found[0]
            if not isinstance(found, RejectedDocument):
                urls.append((found[4], url))
            shard = shard_of(url, self._work.shards)
            if shard in self._todo:
                yield shard, found


class WriteLocations(beam.DoFn):
    """Joins a shard's documents and captures, and writes the locations and the rejected documents."""

    def __init__(self, work: LocateWork) -> None:
        self._work = work

    @timed(Stage.LOCATE, "write")
    def process(self, item: tuple[int, dict[str, Iterable[Any]]]) -> None:
        shard, parts = item
        begin_shard(self._work.folder, shard)
        packs = [found for found in parts["documents"] if not isinstance(found, RejectedDocument)]
        invalid = [found for found in parts["documents"] if isinstance(found, RejectedDocument)]
        invalid.sort(key=lambda reject: (len(reject.source), reject.source))
        references = [self._reference(*row) for row in unpacked(packs)]
        captures = [capture_of(*row) for row in unpacked(parts["captures"])]
        located = locate(references, captures, self._work.max_seconds_apart)
        counts = Counts(seen=len(references) + len(invalid))
        rejects = invalid + located.rejects
        counts.decide([*(None for _ in located.locations), *(reject.reason for reject in rejects)])
        folder = self._work.folder
        names = [folder.shard_file(stem, shard, self._work.shards) for stem in ("locations", "rejects")]
        counted = b"".join(sorted(position(location.url) for location in located.locations))
        files = [
            storage.write_records(names[0], located.locations, Location),
            storage.write_records(names[1], rejects, RejectedDocument),
            storage.write_bytes(folder.shard_file("positions", shard, self._work.shards, "bin"), counted),
        ]
        note = ShardNote(
            shard=shard,
            files=files,
            counts={"documents": counts},
            index_rows_shuffled=len(captures),
            urls=url_filter([*(item.url for item in located.locations), *(item.url for item in rejects)]),
        )
        finish_shard(folder, note)

    def _reference(self, url: str, seconds: int, number: int, line: int, crawl: str, warc: str) -> DocumentReference:
        moment = EPOCH + timedelta(seconds=seconds)
        source = f"{self._work.documents.files[number]}:{line}"
        return DocumentReference(document_key(url, moment), url, moment, source, crawl, warc)


def main(argv: list[str], program: str = "mmc4 locate") -> None:
    """Run from the command line."""
    run(parse(argv, program, DESCRIPTION, OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("locate")
