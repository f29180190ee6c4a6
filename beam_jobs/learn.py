"""Learns from the images of all shards, for the filters that look at the whole corpus."""

import struct
from collections.abc import Callable, Iterator, Mapping

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.transforms import combiners

from beam_jobs.near_copies import TooManyCopies, pack
from filters.base import CopiesFilter, CorpusFilter, SampleFilter

RANKED_HASH = ">QQ"  # Beam's integers are signed, hashes are not; big-endian bytes sort like their numbers
_LEARNED = tuple[str, bytes]  # declared where several collections are merged: Flink requires equal coders


class Learn(beam.PTransform):
    """From fetched shards to (key of a corpus filter, the hashes that it learned to drop, packed).

    `hashes` returns the perceptual hashes of a shard, packed; `ranked_hashes` yields each with its rank. A sample has a
    bounded size: it consists of the images with the lowest ranks. `copies_hints` are resource hints for comparing
    all hashes.
    """

    def __init__(
        self,
        key: str,
        item: CorpusFilter,
        hashes: Callable[[int], bytes],
        ranked_hashes: Callable[[int], Iterator[bytes]],
        copies_hints: Mapping[str, str],
    ) -> None:
        super().__init__()
        self._copies_hints = copies_hints
        self._key, self._filter, self._hashes, self._ranked_hashes = key, item, hashes, ranked_hashes

    def expand(self, fetched: PCollection[int]) -> PCollection[tuple[str, bytes]]:
        key = self._key
        match self._filter:
            case CopiesFilter() as item:
                hashes = self._from_all(fetched, item)
            case SampleFilter() as item:
                hashes = self._from_sample(fetched, item)
            case item:
                raise TypeError(f"{type(item).__name__} is not a known kind of corpus filter; see filters/base.py")
        learned: PCollection[tuple[str, bytes]] = hashes | "With key" >> beam.Map(
            lambda packed: (key, packed)
        ).with_output_types(_LEARNED)
        return learned

    def _from_all(self, fetched: PCollection[int], item: CopiesFilter) -> PCollection[bytes]:
        hashes = fetched | "Hashes" >> beam.Map(self._hashes)
        common: PCollection[bytes] = hashes | TooManyCopies(
            item.max_copies, item.max_distance, hints=self._copies_hints
        )
        return common

    def _from_sample(self, fetched: PCollection[int], item: SampleFilter) -> PCollection[bytes]:
        def learn(sample: list[bytes]) -> bytes:
            return pack(item.learn(sorted(struct.unpack(RANKED_HASH, ranked)[1] for ranked in sample)))

        ranked = fetched | "Ranked hashes" >> beam.FlatMap(self._ranked_hashes)
        learned: PCollection[bytes] = (
            ranked | combiners.Top.Smallest(item.sample) | "Learn from sample" >> beam.Map(learn)
        )
        return learned
