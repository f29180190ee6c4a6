"""The rows that the locate stage shuffles: in compressed packs, because the names of WARC files have much in common."""

import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from mmc4_pipeline.naming import shard_of
from schemas.capture import Capture
from schemas.document import RejectedDocument

# URL, timestamp in seconds, number of the file, line, crawl and WARC file (empty if not known)
Reference = tuple[str, int, int, int, str, str]
IndexRow = tuple[str, int, str, int, int]  # URL, fetch time in milliseconds, WARC file, offset, length
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROWS_PER_PACK = 1000


def rows_of(captures: Iterable[Capture], shards: int, todo: frozenset[int]) -> Iterator[tuple[int, IndexRow]]:
    """Yield the shard and row of each capture whose shard is still to do."""
    for capture in captures:
        shard = shard_of(capture.url, shards)
        if shard in todo:
            fetched = (capture.fetch_time - EPOCH) // timedelta(milliseconds=1)
            yield shard, (capture.url, fetched, capture.warc_filename, capture.offset, capture.length)


def capture_of(url: str, milliseconds: int, warc_filename: str, offset: int, length: int) -> Capture:
    """Return the capture of a row."""
    return Capture(url, EPOCH + timedelta(milliseconds=milliseconds), warc_filename, offset, length)


def in_packs(items: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, bytes | RejectedDocument]]:
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


def unpacked(packs: Iterable[bytes]) -> Iterator[Any]:
    """Yield the rows of packs."""
    for pack in packs:
        yield from orjson.loads(zlib.decompress(pack))
