"""Finds perceptual hashes with too many near copies in the corpus, exactly: banding, table by table."""

from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.pvalue import PCollection
from apache_beam.transforms.combiners import ToList

from mmc4_pipeline.images.near_copies import Banding, close_pairs

Tally = npt.NDArray[np.void]  # of _TALLY
_TALLY = np.dtype([("hash", "<u8"), ("images", "<u4")])
_PART = tuple[int, bytes]  # said where two are put together: Flink refuses that of different coders
_PARTS = 16  # of the hashes: what one worker counts at a time
_FEW = 20_000_000  # distinct hashes, up to which larger buckets in fewer tables are faster


def packed(hashes: Iterable[int]) -> bytes:
    """Pack perceptual hashes, 8 bytes each: Beam's integers are signed, hashes are not."""
    return np.fromiter(hashes, dtype="<u8").tobytes()


def unpacked(hashes: bytes) -> list[int]:
    """Give packed hashes as numbers."""
    return np.frombuffer(hashes, dtype="<u8").tolist()  # type: ignore[no-any-return]


class TooManyCopies(beam.PTransform):
    """Takes packed hashes, one an image; gives those with more images near them than allowed, packed and sorted.

    Each table of the banding is worked through by one worker, which gets all distinct hashes: 12 bytes each, some 25 GB
    of memory at MMC4's size. To shuffle them into the tables' buckets would move them twenty times and more.
    """

    def __init__(self, max_copies: int, max_distance: int) -> None:
        super().__init__()
        self._max_copies, self._max_distance = max_copies, max_distance

    def expand(self, packed_hashes: PCollection[bytes]) -> PCollection[bytes]:
        distinct = (
            packed_hashes
            | "Split hashes" >> beam.FlatMap(_split)
            | "Same part" >> beam.GroupByKey()
            | "Distinct" >> beam.MapTuple(lambda part, tallies: (part, _summed(tallies))).with_output_types(_PART)
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
            | "Own and near" >> beam.Flatten()
            | "Copies of a part" >> beam.GroupByKey()
            | "Too many" >> beam.MapTuple(self._too_many)
            | ToList()
            | "Sort" >> beam.Map(lambda pieces: np.sort(np.frombuffer(b"".join(pieces), dtype="<u8")).tobytes())
        )
        return found

    def _tables(self, distinct: int) -> Iterator[tuple[int, int]]:
        agreeing = 2 if distinct <= _FEW else 3  # 21 tables or 56 at distance 5; these have smaller buckets
        banding = Banding(self._max_distance, agreeing)
        return ((agreeing, table) for table in range(len(banding.tables) if distinct else 0))

    def _close_pairs(
        self, chosen: tuple[int, int], distinct: Iterable[tuple[int, bytes]]
    ) -> Iterator[tuple[int, bytes]]:
        """Give for both hashes of each close pair of a table the other's images."""
        agreeing, table = chosen
        tally = np.frombuffer(_summed(piece for _, piece in distinct), dtype=_TALLY)
        for one, other in close_pairs(tally["hash"], Banding(self._max_distance, agreeing), table):
            for hashes, others in ((one, other), (other, one)):
                images = tally["images"][np.searchsorted(tally["hash"], others)]
                near = np.rec.fromarrays([hashes, images], dtype=_TALLY).view(np.ndarray)
                yield from ((part, piece.tobytes()) for part, piece in _by_part(_part(hashes), near))

    def _too_many(self, _: int, tallies: Iterable[bytes]) -> bytes:
        tally = np.frombuffer(_summed(tallies), dtype=_TALLY)
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


def _summed(tallies: Iterable[bytes]) -> bytes:
    """Add up the images of equal hashes; the hashes come out distinct and sorted."""
    tally = np.concatenate([np.frombuffer(piece, dtype=_TALLY) for piece in tallies])
    hashes, places = np.unique(tally["hash"], return_inverse=True)
    summed = np.zeros(len(hashes), dtype=_TALLY)
    summed["hash"] = hashes
    np.add.at(summed["images"], places, tally["images"])
    return summed.tobytes()
