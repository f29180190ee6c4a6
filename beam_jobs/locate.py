"""Runs the locate stage: finds the documents of C4 in Common Crawl's columnar index, and writes `locations/`.

The documents are read first: their references are joined with the index, and hashes of their URLs become the Bloom
filters that select rows while the index is read. So about as many rows are shuffled as there are documents.
"""

import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import apache_beam as beam
import numpy as np
import orjson
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from beam_jobs.command_line import parse
from beam_jobs.metrics import begin_shard, finish_shard, timed
from beam_jobs.options.common import CommonOptions, output_folder
from beam_jobs.options.locate import LocateOptions
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.web import WebOptions, http_settings
from beam_jobs.stage_runner import refuse_nothing_kept, run_stage
from mmc4_pipeline import storage
from mmc4_pipeline.c4 import DocumentFields, document_files, inspect, parse_fields, read_references
from mmc4_pipeline.commoncrawl.index import index_files, read_captures, row_groups
from mmc4_pipeline.commoncrawl.locate import locate
from mmc4_pipeline.commoncrawl.wanted import BloomFilter, WantedUrls, by_part, false_positive_rate, hash_of
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.naming import document_key, shard_of
from mmc4_pipeline.pages.site_shards import position
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.storage import Inputs
from schemas.capture import Capture, Location
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
OPTIONS = (CommonOptions, LocateOptions, WebOptions)
DOCUMENTS_PER_SHARD = 36_000  # whose references and captures fit any worker
URLS_PER_FILTER = 4 << 20  # a filter's file is then 5 MB for all of C4, and some 13 MB at most
SHARE_OF_FALSE_ROWS = 0.05  # rows that are shuffled needlessly, as a share of the documents
_ROWS_PER_PACK = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# These are shuffled in compressed packs: the URLs of a file and the names of WARC files have much in common.
Reference = tuple[str, int, int, int]  # URL, timestamp in seconds, number of the file, line
IndexRow = tuple[str, int, str, int, int]  # URL, fetch time in milliseconds, WARC file, offset, length


@dataclass(frozen=True, kw_only=True)
class LocateWork:
    """The settings of the stage's steps. `rows` is the number of rows in the whole index."""

    folder: StageFolder
    documents: tuple[str, ...]
    fields: DocumentFields
    rows: int
    shards: int
    filters: int
    max_seconds_apart: int
    inputs: Inputs

    def filter_file(self, part: int) -> str:
        """Return the path of one of the filters of wanted URLs."""
        return self.folder.file(f"wanted/part-{part:05d}.bloom")

    def build(self, pipeline: beam.Pipeline, groups: list[tuple[str, int]], todo: list[int]) -> PCollection[Any]:
        """Wire the pipeline for some of the shards; `groups` are the index's row groups.

        The filters nevertheless include all documents, so that a resumed run makes the same ones.
        """
        documents = (
            pipeline
            | "C4 files" >> beam.Create(list(enumerate(self.documents)))
            | beam.Reshuffle()
            | "Read C4" >> beam.ParDo(ReadReferences(self, todo)).with_outputs("wanted", main="references")
        )
        filters = documents.wanted | beam.GroupByKey() | "Write filters" >> beam.ParDo(WriteFilter(self))
        captures = (
            pipeline
            | "Index row groups" >> beam.Create(groups)
            | "Spread row groups" >> beam.Reshuffle()
            | "Read index" >> beam.ParDo(ReadCaptures(self, todo), beam.pvalue.AsList(filters))
        )
        every_shard = pipeline | "Shards" >> beam.Create([(shard, None) for shard in todo])
        written: PCollection[Any] = (
            {"documents": documents.references, "captures": captures, "shards": every_shard}
            | "Join by shard" >> beam.CoGroupByKey()
            | "Write locations" >> beam.ParDo(WriteLocations(self))
        )
        return written


def run(options: PipelineOptions) -> Manifest[LocatePlan]:
    """Run the stage and return its manifest."""
    own, recipe = options.view_as(LocateOptions), recipe_of(options)
    if not own.c4 or not own.cc_root:
        raise UserError("--c4 and --cc_root are required: the C4 files, and the folder or URL of Common Crawl")
    fields, inputs = parse_fields(own.c4_fields), Inputs(http_settings(options))
    documents, index = document_files(inputs, own.c4), index_files(inputs, own.cc_root, recipe.crawl)
    inspected = storage.for_each(documents, lambda path: inspect(inputs, path, fields))
    index_sizes = storage.for_each(index, inputs.size)
    groups = storage.for_each(index, lambda path: row_groups(inputs, path))
    rows, expected = sum(map(sum, groups.values())), sum(number for _, number in inspected.values())
    if not rows:
        raise UserError(
            f"{index[0]}: the index has no rows in any of its {len(index)} files; check --cc_root and --crawl"
        )
    folder = stage_folder(output_folder(options), Stage.LOCATE)
    work = LocateWork(
        folder=folder,
        documents=tuple(documents),
        fields=fields,
        rows=rows,
        shards=max(1, ceil(expected / DOCUMENTS_PER_SHARD)),
        filters=max(1, ceil(expected / URLS_PER_FILTER)),
        max_seconds_apart=recipe.locate.max_seconds_apart,
        inputs=inputs,
    )
    plan = LocatePlan(
        shards=work.shards,
        recipe=recipe.part(Stage.LOCATE),
        input=LocateInput(
            c4={path: size for path, (size, _) in inspected.items()},
            c4_fields=asdict(fields),
            cc_root=own.cc_root,
            index=index_sizes,
            index_rows=rows,
        ),
    )
    to_read = [(path, group) for path in index for group, size in enumerate(groups[path]) if size]

    def build(pipeline: beam.Pipeline, todo: list[int]) -> PCollection[Any]:
        return work.build(pipeline, to_read, todo)

    resume = options.view_as(CommonOptions).resume
    manifest = run_stage(folder, plan, options, build, resume=resume, after=_remove_filters)
    if manifest.counts["documents"].seen == 0:
        raise UserError("--c4: the files have no documents; check that they are C4 files")
    refuse_nothing_kept(folder, manifest, "be located", "Check --c4, --cc_root and --crawl")
    return manifest


def _remove_filters(folder: StageFolder) -> None:
    storage.remove_folder(folder.file("wanted"))


class ReadReferences(beam.DoFn):
    """Reads a C4 file; yields (shard, pack of references or rejected document) for the shards that are still to do.

    It also yields (part, hashes of URLs) of all documents: the filters must not depend on what a resumed run has to do.
    """

    def __init__(self, work: LocateWork, todo: list[int]) -> None:
        self._work, self._todo = work, frozenset(todo)

    def process(self, file: tuple[int, str]) -> Iterator[Any]:
        hashes: list[int] = []
        _log.info("locate: reading %s", file[1])
        yield from _in_packs(self._references(*file, hashes))
        for part, of_part in by_part(np.array(hashes, np.uint64), self._work.filters).items():
            yield beam.pvalue.TaggedOutput("wanted", (part, of_part.tobytes()))

    def _references(
        self, number: int, path: str, hashes: list[int]
    ) -> Iterator[tuple[int, Reference | RejectedDocument]]:
        for line, found in read_references(self._work.inputs, path, self._work.fields):
            shard = shard_of(found.url, self._work.shards)
            if isinstance(found, DocumentReference):
                hashes.append(hash_of(found.url))
            if shard not in self._todo:
                continue
            if isinstance(found, DocumentReference):
                yield shard, (found.url, (found.timestamp - _EPOCH) // timedelta(seconds=1), number, line)
            else:
                yield shard, found


def _in_packs(items: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, bytes | RejectedDocument]]:
    """Pack the tuples of each shard, a thousand at a time; yield rejected documents unchanged."""
    packs: dict[int, list[Any]] = {}
    for shard, item in items:
        if isinstance(item, RejectedDocument):
            yield shard, item
            continue
        pack = packs.setdefault(shard, [])
        pack.append(item)
        if len(pack) == _ROWS_PER_PACK:
            yield shard, zlib.compress(orjson.dumps(packs.pop(shard)), 1)
    for shard, pack in packs.items():
        yield shard, zlib.compress(orjson.dumps(pack), 1)


def _unpacked(packs: Iterable[bytes]) -> Iterator[Any]:
    for pack in packs:
        yield from orjson.loads(zlib.decompress(pack))


class WriteFilter(beam.DoFn):
    """Makes a Bloom filter of a part's hashes, writes it, and yields (part, sha256 of the file)."""

    def __init__(self, work: LocateWork) -> None:
        self._work = work

    def process(self, item: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, str]]:
        part, pieces = item
        hashes = np.unique(np.concatenate([np.frombuffer(piece, np.uint64) for piece in pieces]))
        wanted = len(hashes) * self._work.filters  # an estimate for all parts, because hashes are spread evenly
        rate = false_positive_rate(wanted, self._work.rows, SHARE_OF_FALSE_ROWS)
        yield part, BloomFilter.of(hashes, rate).write(self._work.filter_file(part)).sha256


class ReadCaptures(beam.DoFn):
    """Reads a row group of the index; yields (shard, pack of rows) for wanted URLs and the shards still to do."""

    def __init__(self, work: LocateWork, todo: list[int]) -> None:
        self._work, self._todo = work, frozenset(todo)
        self._shared = Shared()

    def process(self, group: tuple[str, int], filters: Sequence[tuple[int, str]]) -> Iterator[Any]:
        if filters:  # without documents there are none
            _log.info("locate: reading row group %d of %s", group[1], group[0])
            yield from _in_packs(self._rows(read_captures(self._work.inputs, *group, self._wanted(filters))))

    def _rows(self, captures: Iterable[Capture]) -> Iterator[tuple[int, IndexRow]]:
        for capture in captures:
            shard = shard_of(capture.url, self._work.shards)
            if shard in self._todo:
                fetched = (capture.fetch_time - _EPOCH) // timedelta(milliseconds=1)
                yield shard, (capture.url, fetched, capture.warc_filename, capture.offset, capture.length)

    def _wanted(self, filters: Sequence[tuple[int, str]]) -> WantedUrls:
        """Return the filters, which a worker process reads once; their hashes distinguish them from another run's."""
        files = {part: self._work.filter_file(part) for part, _ in filters}
        tag = repr(sorted((files[part], sha256) for part, sha256 in filters))
        return self._shared.acquire(lambda: WantedUrls.read(files, self._work.filters), tag)  # type: ignore[no-any-return]


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
        references = [self._reference(*row) for row in _unpacked(packs)]
        captures = [_capture(*row) for row in _unpacked(parts["captures"])]
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
        note = ShardNote(shard=shard, files=files, counts={"documents": counts}, index_rows_shuffled=len(captures))
        finish_shard(folder, note)

    def _reference(self, url: str, seconds: int, number: int, line: int) -> DocumentReference:
        moment = _EPOCH + timedelta(seconds=seconds)
        return DocumentReference(document_key(url, moment), url, moment, f"{self._work.documents[number]}:{line}")


def _capture(url: str, milliseconds: int, warc_filename: str, offset: int, length: int) -> Capture:
    return Capture(url, _EPOCH + timedelta(milliseconds=milliseconds), warc_filename, offset, length)


def main(argv: list[str], program: str = "mmc4 locate") -> None:
    """Run from the command line."""
    run(parse(argv, program, DESCRIPTION, OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("locate")
