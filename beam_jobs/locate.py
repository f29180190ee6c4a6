"""locate: C4 documents + Common Crawl's columnar index -> `locations/`, and the documents that were not found."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.options import CommonOptions, LocateOptions, WebOptions, http_settings, output_folder, parse, recipe_of
from beam_jobs.running import refuse_nothing_kept, run_stage, stage_folder
from mmc4_pipeline import http_client, storage
from mmc4_pipeline.c4 import document_files, read_documents
from mmc4_pipeline.commoncrawl.index import index_files, read_captures, row_groups
from mmc4_pipeline.commoncrawl.locate import locate
from mmc4_pipeline.dataset.stage_folder import StageFolder
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.keys import shard_of
from schemas.capture import Capture, Location
from schemas.document import Document, DocumentReference, RejectedDocument
from schemas.reasons import Reason, Stage
from schemas.statistics import Counts

OPTIONS = (CommonOptions, WebOptions, LocateOptions)
_FILES_AT_ONCE = 16
_BYTES_PER_SHARD = 32 << 20  # of compressed C4: about 36,000 documents, whose references fit any worker


def run(options: PipelineOptions) -> dict[str, Any]:
    """Run the stage and give its manifest."""
    own, recipe = options.view_as(LocateOptions), recipe_of(options)
    if not own.c4 or not own.cc_root:
        message = "--c4 and --cc_root: say where the documents and Common Crawl are"
        raise UserError(message)
    http_client.use(http_settings(options))
    documents, index = document_files(own.c4), index_files(own.cc_root, recipe.crawl)
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:  # on remote storage each look at a file takes a while
        sizes, index_sizes = (
            dict(zip(paths, pool.map(storage.size, paths), strict=True)) for paths in (documents, index)
        )
        numbers = list(pool.map(row_groups, index))
    groups = [(path, group) for path, number in zip(index, numbers, strict=True) for group in range(number)]
    shards = max(1, ceil(sum(sizes.values()) / _BYTES_PER_SHARD))
    folder = stage_folder(output_folder(options), Stage.LOCATE)
    plan = {
        "recipe": recipe.part(Stage.LOCATE),
        "input": {"c4": sizes, "cc_root": own.cc_root, "index": index_sizes},
    }

    def build(pipeline: beam.Pipeline, todo: list[int]) -> None:
        _build(pipeline, documents, groups, folder, shards, todo, http_settings(options))

    manifest = run_stage(folder, plan, shards, options, build, resume=options.view_as(CommonOptions).resume)
    if manifest["counts"]["documents"]["in"] == 0:
        message = "--c4: the files hold no documents"
        raise UserError(message)
    refuse_nothing_kept(folder, manifest, "be located", "Check --c4, --cc_root and --crawl")
    return manifest


def _build(
    pipeline: beam.Pipeline,
    documents: list[str],
    groups: list[tuple[str, int]],
    folder: StageFolder,
    shards: int,
    todo: list[int],
    http: http_client.HttpSettings,
) -> None:
    references = (
        pipeline
        | "C4 files" >> beam.Create(documents)
        | beam.Reshuffle()
        | "Read C4" >> beam.ParDo(ReadReferences(shards, todo, http))
    )
    urls = references | "Wanted URLs" >> beam.FlatMap(_wanted_url) | beam.Distinct()
    captures = (
        pipeline
        | "Index row groups" >> beam.Create(groups)
        | "Spread row groups" >> beam.Reshuffle()
        | "Read index" >> beam.ParDo(ReadCaptures(shards, http), beam.pvalue.AsList(urls))
    )
    every_shard = pipeline | "Shards" >> beam.Create([(shard, None) for shard in todo])
    (
        {"documents": references, "captures": captures, "shards": every_shard}
        | "Join by shard" >> beam.CoGroupByKey()
        | "Write locations" >> beam.ParDo(WriteLocations(folder, shards))
    )


class ReadReferences(beam.DoFn):
    """Reads a C4 file into (shard, reference or reject), for the shards still to do."""

    def __init__(self, shards: int, todo: list[int], http: http_client.HttpSettings) -> None:
        self._shards, self._todo, self._http = shards, set(todo), http

    def setup(self) -> None:
        http_client.use(self._http)

    def process(self, path: str) -> Iterator[tuple[int, DocumentReference | RejectedDocument]]:
        for source, document in read_documents(path):
            shard = shard_of(document.url, self._shards)
            if shard not in self._todo:
                continue
            if isinstance(document, Document):
                yield shard, DocumentReference(document.key, document.url, document.timestamp, source)
            else:
                yield shard, document


def _wanted_url(item: tuple[int, DocumentReference | RejectedDocument]) -> Iterator[str]:
    if isinstance(item[1], DocumentReference):
        yield item[1].url


class ReadCaptures(beam.DoFn):
    """Reads a row group of the index into (shard, capture), for wanted URLs only."""

    def __init__(self, shards: int, http: http_client.HttpSettings) -> None:
        self._shards, self._http = shards, http
        self._wanted: pa.Array | None = None

    def setup(self) -> None:
        http_client.use(self._http)

    def start_bundle(self) -> None:
        self._wanted = None  # the side input is the same for a whole bundle: made into an array once

    def process(self, group: tuple[str, int], urls: list[str]) -> Iterator[tuple[int, Capture]]:
        if self._wanted is None:
            self._wanted = pa.array(urls, type=pa.string())
        for capture in read_captures(*group, self._wanted):
            yield shard_of(capture.url, self._shards), capture


class WriteLocations(beam.DoFn):
    """Joins the documents and captures of a shard and writes both sides of the result."""

    def __init__(self, folder: StageFolder, shards: int) -> None:
        self._folder, self._shards = folder, shards

    def process(self, item: tuple[int, dict[str, Iterable[Any]]]) -> None:
        shard, parts = item
        documents = list(parts["documents"])
        references = [document for document in documents if isinstance(document, DocumentReference)]
        invalid = sorted(
            (document for document in documents if isinstance(document, RejectedDocument)), key=lambda d: d.source
        )
        located = locate(references, parts["captures"])
        counts = Counts(seen=len(documents))
        rejects = invalid + located.rejects
        counts.decide([*(None for _ in located.locations), *(Reason(reject.reason) for reject in rejects)])
        names = [self._folder.shard_file(stem, shard, self._shards) for stem in ("locations", "rejects")]
        files = [
            storage.write_records(names[0], located.locations, Location),
            storage.write_records(names[1], rejects, RejectedDocument),
        ]
        self._folder.finish_shard(shard, files, {"documents": counts})


def main(argv: list[str], program: str = "mmc4 locate") -> None:
    """Run from the command line."""
    run(parse(argv, program, __doc__ or "", OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("locate")
