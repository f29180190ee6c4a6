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
from mmc4_pipeline.commoncrawl.cdx_index import Block, CdxIndex, key_of
from mmc4_pipeline.naming import shard_of, stable_hash
from mmc4_pipeline.storage import Inputs, concurrently
from schemas.capture import Capture

_log = logging.getLogger(__name__)

_BLOCKS_AT_ONCE = 8  # that a worker reads concurrently; each is one request
_Wanted = list[tuple[Block, str]]  # blocks, each with a URL that it may list


@dataclass(frozen=True, kw_only=True)
class CdxLookUps:
    """The CDXJ index of a crawl. `whole` is whether each worker process reads all of cluster.idx.

    Blocks are read in `groups`. `shards` is the number of shards of locations.
    """

    inputs: Inputs
    cc_root: str
    crawl: str
    whole: bool
    groups: int
    shards: int

    def open(self) -> CdxIndex:
        """Return the index, with nothing read of it yet."""
        return CdxIndex(self.inputs, self.cc_root, self.crawl, whole=self.whole)

    def wanted(self, urls: Sequence[str], todo: frozenset[int]) -> Iterator[tuple[int, bytes]]:
        """Yield (group, pack of blocks and URLs) of a file's documents whose shards are still to do."""
        packs: dict[int, _Wanted] = {}
        index = _opened(self)
        keys = sorted((key, url) for url in set(urls) if shard_of(url, self.shards) in todo and (key := key_of(url)))
        for key, url in keys:
            for block in index.blocks(key):
                group = stable_hash(f"{block.file} {block.offset}") % self.groups
                packs.setdefault(group, []).append((block, url))
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


_shared = Shared()


def _opened(look_ups: CdxLookUps) -> CdxIndex:
    """Return the index, of which a process reads each part of cluster.idx once."""
    return _shared.acquire(look_ups.open, repr(look_ups))  # type: ignore[no-any-return]


class ReadBlocks(beam.DoFn):
    """Reads a group of blocks, each once; yields (shard, pack of rows) for the wanted URLs."""

    def __init__(self, look_ups: CdxLookUps, todo: frozenset[int]) -> None:
        self._look_ups, self._todo = look_ups, todo

    def process(self, item: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        urls_of: dict[Block, set[str]] = {}
        for pack in item[1]:
            for block, url in msgspec.msgpack.decode(pack, type=_Wanted):
                urls_of.setdefault(block, set()).add(url)
        index = self._look_ups.open()
        _log.info("locate: reading %d blocks of the index", len(urls_of))

        def read(block: Block) -> list[Capture]:
            return list(index.captures(block, urls_of[block]))

        found = concurrently(read, sorted(urls_of), _BLOCKS_AT_ONCE)
        captures = (capture for of_block in found for capture in of_block)
        yield from in_packs(rows_of(captures, self._look_ups.shards, self._todo))
