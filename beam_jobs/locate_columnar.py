"""Reads captures from the whole columnar index: Bloom filters of the wanted URLs drop most rows where they are read."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from beam_jobs.locate_rows import in_packs, rows_of
from mmc4_pipeline.commoncrawl.index import read_captures
from mmc4_pipeline.commoncrawl.wanted import BloomFilter, WantedUrls, by_part, false_positive_rate, hash_of
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.storage import Inputs

_log = logging.getLogger(__name__)

SHARE_OF_FALSE_ROWS = 0.05  # rows that are shuffled needlessly, as a share of the documents


@dataclass(frozen=True, kw_only=True)
class ColumnarIndex:
    """The columnar index of a crawl: its row groups (file, number) that have rows, and the number of rows in all.

    `filters` is the number of Bloom filters, `shards` that of the shards of locations.
    """

    folder: StageFolder
    inputs: Inputs
    crawl: str
    groups: tuple[tuple[str, int], ...]
    rows: int
    filters: int
    shards: int

    def filter_file(self, part: int) -> str:
        """Return the path of one of the filters of wanted URLs."""
        return self.folder.file(f"wanted/part-{part:05d}.bloom")

    def wanted(self, urls: Sequence[tuple[str, str]], _todo: frozenset[int]) -> Iterator[tuple[int, bytes]]:
        """Yield (part, hashes of URLs) of a file's documents, which are given with their crawls ("" if not known).

        Raises UserError for a document of another crawl.

        The filters have all documents, whatever a resumed run has to do, so that each run makes the same ones.
        """
        for crawl, url in urls:
            if crawl not in ("", self.crawl):
                raise UserError(
                    f"{url}: its crawl is {crawl}, but --index columnar reads {self.crawl} only; use --index cdx for "
                    "several crawls, or --crawl with files of one crawl"
                )
        hashes = np.fromiter((hash_of(url) for _, url in urls), np.uint64, len(urls))
        for part, of_part in by_part(hashes, self.filters).items():
            yield part, of_part.tobytes()

    def captures(
        self, pipeline: beam.Pipeline, wanted: PCollection[tuple[int, bytes]], todo: frozenset[int]
    ) -> PCollection[tuple[int, bytes]]:
        """Return packs of rows, by shard, for the wanted URLs and few others."""
        filters = wanted | beam.GroupByKey() | "Write filters" >> beam.ParDo(WriteFilter(self))
        captures: PCollection[tuple[int, bytes]] = (
            pipeline
            | "Index row groups" >> beam.Create(list(self.groups))
            | "Spread row groups" >> beam.Reshuffle()
            | "Read index" >> beam.ParDo(ReadCaptures(self, todo), beam.pvalue.AsList(filters))
        )
        return captures


class WriteFilter(beam.DoFn):
    """Makes a Bloom filter of a part's hashes, writes it, and yields (part, sha256 of the file)."""

    def __init__(self, index: ColumnarIndex) -> None:
        self._index = index

    def process(self, item: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, str]]:
        part, pieces = item
        hashes = np.unique(np.concatenate([np.frombuffer(piece, np.uint64) for piece in pieces]))
        wanted = len(hashes) * self._index.filters  # an estimate for all parts, because hashes are spread evenly
        rate = false_positive_rate(wanted, self._index.rows, SHARE_OF_FALSE_ROWS)
        yield part, BloomFilter.of(hashes, rate).write(self._index.filter_file(part)).sha256


class ReadCaptures(beam.DoFn):
    """Reads a row group of the index; yields (shard, pack of rows) for wanted URLs and the shards still to do."""

    def __init__(self, index: ColumnarIndex, todo: frozenset[int]) -> None:
        self._index, self._todo = index, todo
        self._shared = Shared()

    def process(self, group: tuple[str, int], filters: Sequence[tuple[int, str]]) -> Iterator[Any]:
        if filters:  # without documents there are none
            _log.info("locate: reading row group %d of %s", group[1], group[0])
            captures = read_captures(self._index.inputs, *group, self._wanted(filters))
            yield from in_packs(rows_of(captures, self._index.shards, self._todo))

    def _wanted(self, filters: Sequence[tuple[int, str]]) -> WantedUrls:
        """Return the filters, which a worker process reads once; their hashes distinguish them from another run's."""
        files = {part: self._index.filter_file(part) for part, _ in filters}
        tag = repr(sorted((files[part], sha256) for part, sha256 in filters))
        return self._shared.acquire(lambda: WantedUrls.read(files, self._index.filters), tag)  # type: ignore[no-any-return]
