"""Files of outcomes that are sorted by position, a few megabytes at a time, so that a shard's are next to one another.

A run `read/00003.run` has the packed outcomes one after another; `read/00003.index` has the position and
length of each, and whether it is a document.
"""

import struct
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from operator import itemgetter

import msgspec
import numpy as np
from numpy.typing import NDArray

from mmc4_pipeline import storage
from mmc4_pipeline.pages.site_shards import POSITION, Positions, SiteShards
from mmc4_pipeline.storage import HashingWriter
from schemas.manifest import WrittenFile
from schemas.page import OutcomeKind, PageOutcome

_SORTED_AT_ONCE = 8 << 20  # bytes
_INDEX = np.dtype([("position", POSITION), ("length", "<u4"), ("document", "?")])
_LENGTH = struct.Struct("<I")
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(PageOutcome)

Slice = tuple[int, int]  # offset and length in bytes
_Pending = tuple[bytes, bytes, bool]  # a line of the index, with the outcome in place of its length


def write_run(path: str, outcomes: Iterable[PageOutcome]) -> list[WrittenFile]:
    """Write outcomes to `path`.run and their index to `path`.index."""
    with storage.write_atomically(f"{path}.run") as writer:
        index = b"".join(_write(writer, outcomes))
    return [storage.written(f"{path}.run", writer), storage.write_bytes(f"{path}.index", index)]


def _write(writer: HashingWriter, outcomes: Iterable[PageOutcome]) -> Iterator[bytes]:
    """Write outcomes and yield their index."""
    pending: list[_Pending] = []
    size = 0
    for outcome in outcomes:
        packed = _ENCODER.encode(outcome)
        is_document = outcome.kind is not OutcomeKind.COUNTS
        pending.append((outcome.position, _LENGTH.pack(len(packed)) + packed, is_document))
        size += len(packed)
        if size > _SORTED_AT_ONCE:
            yield _write_sorted(writer, pending)
            pending, size = [], 0
    yield _write_sorted(writer, pending)


def _write_sorted(writer: HashingWriter, pending: list[_Pending]) -> bytes:
    pending.sort(key=itemgetter(0))
    for _, packed, _ in pending:
        writer.write(packed)
    return np.array(
        [(position, len(packed), is_document) for position, packed, is_document in pending], _INDEX
    ).tobytes()


def _index(path: str) -> NDArray[np.void]:
    return np.frombuffer(storage.read_bytes(f"{path}.index"), _INDEX)


def positions_of(path: str) -> Positions:
    """Return the positions of a run's documents."""
    index = _index(path)
    return np.ascontiguousarray(index["position"][index["document"]])


def slices(path: str, shards: SiteShards) -> Iterator[tuple[int, Slice]]:
    """Yield the slices of a run, each with its shard."""
    index = _index(path)
    shard = shards.of(index["position"])
    ends = np.concatenate([[0], np.cumsum(index["length"], dtype=np.int64)])
    bounds = [*np.flatnonzero(np.diff(shard, prepend=-1)).tolist(), len(index)]
    for first, end in pairwise(bounds):
        yield int(shard[first]), (int(ends[first]), int(ends[end] - ends[first]))


def read_slices(path: str, shards: SiteShards, wanted: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """Yield the slices of a run for some shards, each with its shard; the file is read once, from front to back."""
    with storage.open_stream(f"{path}.run") as stream:
        for shard, (_, length) in slices(path, shards):
            data = stream.read(length)
            if shard in wanted:
                yield shard, data


def read_slice(path: str, place: Slice) -> bytes:
    """Read a slice of a run."""
    return storage.read_range(f"{path}.run", *place)


def outcomes_of(data: bytes) -> Iterator[PageOutcome]:
    """Yield the outcomes of a slice."""
    offset = 0
    while offset < len(data):
        (length,) = _LENGTH.unpack_from(data, offset)
        offset += _LENGTH.size
        yield _DECODER.decode(memoryview(data)[offset : offset + length])
        offset += length
