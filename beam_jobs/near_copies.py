"""Finds the perceptual hashes with too many near copies in the corpus, exactly: banding, one table at a time."""

from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.pvalue import PCollection
from apache_beam.transforms.combiners import ToList

from mmc4_pipeline.images.near_copies import Banding, close_pairs

Tally = npt.NDArray[np.void]  # of _TALLY
_TALLY = np.dtype([("hash", "<u8"), ("images", "<u4")])
_PART = tuple[int, bytes]  # declared where two collections are merged: Flink requires equal coders
_PARTS = 16  # into which the hashes are divided; a worker counts one part at a time
_FEW = 20_000_000  # up to this many distinct hashes, larger buckets in fewer tables are faster


def pack(hashes: Iterable[int]) -> bytes:
    """Pack perceptual hashes, 8 bytes each: Beam's integers are signed, hashes are not."""
    return np.fromiter(hashes, dtype="<u8").tobytes()


def unpack(hashes: bytes) -> list[int]:
    """Return packed hashes as numbers."""
    return np.frombuffer(hashes, dtype="<u8").tolist()  # type: ignore[no-any-return]


class TooManyCopies(beam.PTransform):
    """From packed hashes, one per image, to the hashes with more images near them than allowed, packed and sorted.

    One worker processes a table of the banding; it gets all distinct hashes, 12 bytes each, about 25 GB of memory at
    MMC4's size. Shuffling them into the tables' buckets would move each of them more than twenty times.
    """

    def __init__(self, max_copies: int, max_distance: int) -> None:
        super().__init__()
        self._max_copies, self._max_distance = max_copies, max_distance

    def expand(self, packed_hashes: PCollection[bytes]) -> PCollection[bytes]:
        distinct = (
            packed_hashes
            | "Split hashes" >> beam.FlatMap(_split)
            | "Same part" >> beam.GroupByKey()
            | "Distinct" >> beam.MapTuple(lambda part, tallies: (part, _add_up(tallies))).with_output_types(_PART)
        )
        near = (
            distinct
            | "Count" >> beam.MapTuple(lambda _, tally: len(tally) // _TALLY.itemsize)
            | "All" >> beam.CombineGlobally(sum)
            | "Tables" >> beam.FlatMap(self._tables)
            | "Spread tables" >> beam.Reshuffle()
            | "Close pairs" >> beam.FlatMap(self._close_pairs, beam.pvalue.AsList(distinct)).with_output_types(_PART)
        )
        found: PCollection[bytes] = (
            (distinct, near)
            | "Equal and near" >> beam.Flatten()
            | "Copies of a part" >> beam.GroupByKey()
            | "Too many" >> beam.MapTuple(self._too_many)
            | ToList()
            | "Sort" >> beam.Map(lambda pieces: np.sort(np.frombuffer(b"".join(pieces), dtype="<u8")).tobytes())
        )
        return found

    def _tables(self, distinct: int) -> Iterator[tuple[int, int]]:
        agreeing = 2 if distinct <= _FEW else 3  # at distance 5: 21 tables, or 56 with smaller buckets
        banding = Banding(self._max_distance, agreeing)
        return ((agreeing, table) for table in range(len(banding.tables) if distinct else 0))

    def _close_pairs(
        self, chosen: tuple[int, int], distinct: Iterable[tuple[int, bytes]]
    ) -> Iterator[tuple[int, bytes]]:
        """Yield, for both hashes of each close pair of a table, the number of images of the other hash."""
        agreeing, table = chosen
        tally = np.frombuffer(_add_up(piece for _, piece in distinct), dtype=_TALLY)
        for one, other in close_pairs(tally["hash"], Banding(self._max_distance, agreeing), table):
            for hashes, others in ((one, other), (other, one)):
                images = tally["images"][np.searchsorted(tally["hash"], others)]
                near = np.rec.fromarrays([hashes, images], dtype=_TALLY).view(np.ndarray)
                yield from ((part, piece.tobytes()) for part, piece in _by_part(_part(hashes), near))

    def _too_many(self, _: int, tallies: Iterable[bytes]) -> bytes:
        tally = np.frombuffer(_add_up(tallies), dtype=_TALLY)
        return tally["hash"][tally["images"] > self._max_copies].tobytes()


def _split(packed_hashes: bytes) -> Iterator[tuple[int, bytes]]:
    hashes, images = np.unique(np.frombuffer(packed_hashes, dtype="<u8"), return_counts=True)
    tally = np.rec.fromarrays([hashes, images], dtype=_TALLY).view(np.ndarray)
    return ((part, piece.tobytes()) for part, piece in _by_part(_part(hashes), tally))


def _part(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
    return (hashes % np.uint64(_PARTS)).astype(np.intp)


def _by_part(parts: npt.NDArray[np.intp], tally: Tally) -> Iterator[tuple[int, Tally]]:
    if not len(tally):
        return
    order = np.argsort(parts, kind="stable")
    present, starts = np.unique(parts[order], return_index=True)
    yield from zip(present.tolist(), np.split(tally[order], starts[1:]), strict=True)


def _add_up(tallies: Iterable[bytes]) -> bytes:
    """Add up the images of equal hashes; the result has distinct hashes in ascending order."""
    tally = np.concatenate([np.frombuffer(piece, dtype=_TALLY) for piece in tallies])
    hashes, places = np.unique(tally["hash"], return_inverse=True)
    summed = np.zeros(len(hashes), dtype=_TALLY)
    summed["hash"] = hashes
    np.add.at(summed["images"], places, tally["images"])
    return summed.tobytes()
