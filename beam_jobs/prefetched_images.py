"""Finds the images of --images_from for all page shards in one join, by a hash of the URL."""

from collections.abc import Callable, Collection, Iterable, Sequence
from math import ceil

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection

from mmc4_pipeline.images.from_img2dataset.join import join, wanted_by_bucket
from mmc4_pipeline.images.from_img2dataset.prefetched import PrefetchedImages

# A shard, of images or of pages, has about 10,000 URLs. A worker joins one bucket at a time, with about 200 bytes of
# memory per URL that is wanted.
_SHARDS_PER_BUCKET = 50
_BLOCK = tuple[int, bytes]  # declared where collections are merged: Flink requires equal coders


class FindImages(beam.PTransform):
    """From nothing to (page shard, blocks of what the image shards have for it), one element per page shard.

    Only the shards of `remaining` are looked up. `wanted` returns the URLs that a page shard wants.
    """

    def __init__(
        self,
        images: PrefetchedImages,
        shards: int,
        remaining: Sequence[int],
        wanted: Callable[[int], Collection[str]],
    ) -> None:
        super().__init__()
        self._images, self._shards, self._remaining, self._wanted = images, shards, remaining, wanted
        self._buckets = ceil(max(len(images.tars), len(remaining)) / _SHARDS_PER_BUCKET)

    def expand(self, pipeline: PBegin) -> PCollection[tuple[int, list[bytes]]]:
        numbers = range(len(self._images.tars)) if self._remaining else ()
        images = (
            pipeline
            | "Image shards" >> beam.Create(numbers)
            | "Spread image shards" >> beam.Reshuffle()
            | "Index" >> beam.FlatMap(self._images.by_bucket, self._buckets).with_output_types(_BLOCK)
        )
        wanted = (
            pipeline
            | "Shards that want images" >> beam.Create(self._remaining)
            | "Spread them" >> beam.Reshuffle()
            | "Wanted" >> beam.FlatMap(self._wanted_by_bucket).with_output_types(_BLOCK)
        )
        found = (
            {"wanted": wanted, "images": images}
            | "Same bucket" >> beam.CoGroupByKey()
            | "Join" >> beam.FlatMapTuple(self._join).with_output_types(_BLOCK)
        )
        every = pipeline | "Every shard" >> beam.Create(
            [(shard, b"") for shard in range(self._shards)]
        ).with_output_types(_BLOCK)
        by_shard: PCollection[tuple[int, list[bytes]]] = (
            {"every": every, "found": found}
            | "Same shard" >> beam.CoGroupByKey()
            | "Found" >> beam.MapTuple(lambda shard, parts: (shard, list(parts["found"])))
        )
        return by_shard

    def _wanted_by_bucket(self, shard: int) -> Iterable[tuple[int, bytes]]:
        return wanted_by_bucket(shard, self._wanted(shard), self._buckets)

    def _join(self, _: int, sides: dict[str, Iterable[bytes]]) -> Iterable[tuple[int, bytes]]:
        return join(sides["wanted"], sides["images"])
