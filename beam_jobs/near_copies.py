"""Finds the perceptual hashes with too many near copies in the corpus, exactly: banding, one table at a time."""

from collections.abc import Iterable, Iterator, Mapping
from math import ceil

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection
from apache_beam.transforms.combiners import ToList

from beam_jobs.engines import on_dataflow
from mmc4_pipeline.images.near_copies import Banding, close_pairs

Tally = npt.NDArray[np.void]  # of _TALLY
_TALLY = np.dtype([("hash", "<u8"), ("images", "<u4")])
_PART = tuple[int, bytes]  # declared where two collections are merged: Flink requires equal coders
_PARTS = 16  # into which the hashes are divided; a worker counts one part at a time
AT_ONCE = 20_000_000  # hashes that a worker compares at a time
_MEMORY_OF_A_WORKER = 1_500_000_000  # bytes, of the system and a Python process
_MEMORY_PER_HASH = 100  # bytes; measured: 61, and 24 for the pieces before they are merged
_ANY_WORKER = 3_000_000_000  # bytes that Dataflow's smallest usual worker has for this
_FEW = 20_000_000  # up to this many distinct hashes, larger buckets in fewer tables are faster


def pack(hashes: Iterable[int]) -> bytes:
    """Pack perceptual hashes, 8 bytes each: Beam's integers are signed, hashes are not."""
    return np.fromiter(hashes, dtype="<u8").tobytes()


def unpack(hashes: bytes) -> list[int]:
    """Return packed hashes as numbers."""
    return np.frombuffer(hashes, dtype="<u8").tolist()  # type: ignore[no-any-return]


class TooManyCopies(beam.PTransform):
    """From packed hashes, one per image, to the hashes with more images near them than allowed, packed and sorted.

    A worker compares up to `at_once` distinct hashes at a time, 12 bytes each: those of one table of the banding if
    there are no more, or else a slice of a table. A slice has whole buckets, and each hash is sent once per table.
    `hints` are Beam's resource hints for these steps.
    """

    def __init__(
        self, max_copies: int, max_distance: int, *, at_once: int = AT_ONCE, hints: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self._max_copies, self._max_distance = max_copies, max_distance
        self._at_once, self._hints = at_once, dict(hints or {})

    def expand(self, packed_hashes: PCollection[bytes]) -> PCollection[bytes]:
        distinct = (
            packed_hashes
            | "Split hashes" >> beam.FlatMap(_split)
            | "Same part" >> beam.GroupByKey()
            | "Distinct" >> beam.MapTuple(lambda part, tallies: (part, _add_up(tallies))).with_output_types(_PART)
        )
        number = (
            distinct
            | "Count" >> beam.MapTuple(lambda _, tally: len(tally) // _TALLY.itemsize)
            | "All" >> beam.CombineGlobally(sum)
        )
        of_tables = beam.FlatMap(self._pairs_of_table, beam.pvalue.AsSingleton(number), beam.pvalue.AsList(distinct))
        near_in_tables = (
            number
            | "Tables" >> beam.FlatMap(self._whole_tables)
            | "Spread tables" >> beam.Reshuffle()
            | "Close pairs" >> of_tables.with_output_types(_PART).with_resource_hints(**self._hints)
        )
        of_slices = beam.FlatMap(self._pairs_of_slice, beam.pvalue.AsSingleton(number))
        near_in_slices = (
            distinct
            | "Slice" >> beam.FlatMap(self._slice, beam.pvalue.AsSingleton(number)).with_output_types(_PART)
            | "Same slice" >> beam.GroupByKey()
            | "Close pairs of slices" >> of_slices.with_output_types(_PART).with_resource_hints(**self._hints)
        )
        found: PCollection[bytes] = (
            (distinct, near_in_tables, near_in_slices)
            | "Equal and near" >> beam.Flatten()
            | "Copies of a part" >> beam.GroupByKey()
            | "Too many" >> beam.MapTuple(self._too_many)
            | ToList()
            | "Sort" >> beam.Map(lambda pieces: np.sort(np.frombuffer(b"".join(pieces), dtype="<u8")).tobytes())
        )
        return found

    def _banding(self, number: int) -> Banding:
        return Banding(self._max_distance, 2 if number <= _FEW else 3)  # at distance 5: 21 tables, or 56

    def _slices(self, number: int) -> int:
        """Return the number of slices of each table."""
        return ceil(number / self._at_once)

    def _whole_tables(self, number: int) -> Iterable[int]:
        return range(len(self._banding(number).tables)) if self._slices(number) == 1 else ()

    def _slice(self, part: tuple[int, bytes], number: int) -> Iterator[tuple[int, bytes]]:
        """Yield the pieces of a part for the slices of all tables, unless whole tables are compared."""
        slices, banding = self._slices(number), self._banding(number)
        if slices > 1:
            rows = np.frombuffer(part[1], dtype=_TALLY)
            for table in range(len(banding.tables)):
                for piece, of_slice in _by_part(banding.slices(rows["hash"], table, slices), rows):
                    yield table * slices + piece, of_slice.tobytes()

    def _pairs_of_table(
        self, table: int, number: int, distinct: Iterable[tuple[int, bytes]]
    ) -> Iterator[tuple[int, bytes]]:
        return self._close_pairs(table, number, (piece for _, piece in distinct))

    def _pairs_of_slice(self, of_slice: tuple[int, Iterable[bytes]], number: int) -> Iterator[tuple[int, bytes]]:
        place, pieces = of_slice
        return self._close_pairs(place // self._slices(number), number, pieces)

    def _close_pairs(self, table: int, number: int, pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """Yield, for both hashes of each close pair among the pieces, the number of images of the other hash."""
        tally = np.frombuffer(_add_up(pieces), dtype=_TALLY)
        for one, other in close_pairs(tally["hash"], self._banding(number), table):
            for hashes, others in ((one, other), (other, one)):
                images = tally["images"][np.searchsorted(tally["hash"], others)]
                near = np.rec.fromarrays([hashes, images], dtype=_TALLY).view(np.ndarray)
                yield from ((part, piece.tobytes()) for part, piece in _by_part(_part(hashes), near))

    def _too_many(self, _: int, tallies: Iterable[bytes]) -> bytes:
        tally = np.frombuffer(_add_up(tallies), dtype=_TALLY)
        return tally["hash"][tally["images"] > self._max_copies].tobytes()


def copies_hints(options: PipelineOptions, images: int) -> dict[str, str]:
    """Return Beam's resource hints for comparing up to this many images; none on runners other than Dataflow.

    On the others they would prevent steps from being fused.
    """
    needed = _MEMORY_OF_A_WORKER + _MEMORY_PER_HASH * min(images, AT_ONCE)
    return {"min_ram": f"{ceil(needed / 1e9)}GB"} if on_dataflow(options) and needed > _ANY_WORKER else {}


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
