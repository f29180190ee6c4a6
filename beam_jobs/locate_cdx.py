"""Looks captures up in the CDXJ index: documents of one block share its request, also across files of documents."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.pvalue import PCollection
from apache_beam.utils.shared import Shared

from beam_jobs.locate_rows import in_packs, rows_of
from mmc4_pipeline.commoncrawl.cdx_index import PAGE, PAGES_OF_KEY, Block, CdxIndex, key_of
from mmc4_pipeline.naming import shard_of, stable_hash
from mmc4_pipeline.storage import Inputs, concurrently
from schemas.capture import Capture

_shared = Shared()
_log = logging.getLogger(__name__)

_BLOCKS_AT_ONCE = 8  # that a worker reads concurrently; each is one request
_Wanted = list[tuple[str, Block, str]]  # crawls and blocks of their indexes, each with a URL that it may list


@dataclass(frozen=True, kw_only=True)
class CdxLookUps:
    """The CDXJ indexes of crawls; `crawl` is that of documents that do not name theirs.

    `whole` is whether each worker process reads all of cluster.idx, None if that depends on each batch of documents.
    Blocks are read in `groups`. `shards` is the number of shards of locations.
    """

    inputs: Inputs
    cc_root: str
    crawl: str
    whole: bool | None
    groups: int
    shards: int

    def wanted(self, urls: Sequence[tuple[str, str]], todo: frozenset[int]) -> Iterator[tuple[int, bytes]]:
        """Yield (group, pack of blocks and URLs) of a file's documents whose shards are still to do.

        Documents are given as crawl ("" if not known) and URL.
        """
        indexes: _Indexes = _shared.acquire(lambda: _Indexes(self), repr(self))
        packs: dict[int, _Wanted] = {}
        keys: dict[str, list[tuple[bytes, str]]] = {}
        for crawl, url in set(urls):
            if shard_of(url, self.shards) in todo and (key := key_of(url)):
                keys.setdefault(crawl or self.crawl, []).append((key, url))
        for crawl, of_crawl in sorted(keys.items()):
            index = indexes.of(crawl, len(of_crawl))
            for key, url in sorted(of_crawl):
                for block in index.blocks(key):
                    group = stable_hash(f"{crawl} {block.file} {block.offset}") % self.groups
                    packs.setdefault(group, []).append((crawl, block, url))
        for group, pack in packs.items():
            yield group, msgspec.msgpack.encode(pack)

    def captures(
        self, _pipeline: beam.Pipeline, wanted: PCollection[tuple[int, bytes]], todo: frozenset[int]
    ) -> PCollection[tuple[int, bytes]]:
        """Return packs of rows, by shard, for the wanted URLs."""
        captures: PCollection[tuple[int, bytes]] = (
            wanted | beam.GroupByKey() | "Look up" >> beam.ParDo(ReadBlocks(self, todo))
        )
        return captures


class _Indexes:
    """The indexes that a process looks documents up in: it reads each part of a cluster.idx once."""

    def __init__(self, look_ups: CdxLookUps) -> None:
        self._look_ups = look_ups
        self._by_crawl: dict[str, CdxIndex] = {}

    def of(self, crawl: str, documents: int) -> CdxIndex:
        """Return a crawl's index; `documents` are to be looked up in it first."""
        look_ups = self._look_ups
        if crawl not in self._by_crawl:
            index = CdxIndex(look_ups.inputs, look_ups.cc_root, crawl)
            index.whole = index.size <= documents * PAGES_OF_KEY * PAGE if look_ups.whole is None else look_ups.whole
            self._by_crawl[crawl] = index
        return self._by_crawl[crawl]


class ReadBlocks(beam.DoFn):
    """Reads a group of blocks, each once; yields (shard, pack of rows) for the wanted URLs."""

    def __init__(self, look_ups: CdxLookUps, todo: frozenset[int]) -> None:
        self._look_ups, self._todo = look_ups, todo

    def process(self, item: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        urls_of: dict[tuple[str, Block], set[str]] = {}
        for pack in item[1]:
            for crawl, block, url in msgspec.msgpack.decode(pack, type=_Wanted):
                urls_of.setdefault((crawl, block), set()).add(url)
        look_ups = self._look_ups
        indexes = {crawl: CdxIndex(look_ups.inputs, look_ups.cc_root, crawl) for crawl, _ in urls_of}
        _log.info("locate: reading %d blocks of the index", len(urls_of))

        def read(place: tuple[str, Block]) -> list[Capture]:
            crawl, block = place
            return list(indexes[crawl].captures(block, urls_of[place]))

        found = concurrently(read, sorted(urls_of), _BLOCKS_AT_ONCE)
        captures = (capture for of_block in found for capture in of_block)
        yield from in_packs(rows_of(captures, self._look_ups.shards, self._todo))
