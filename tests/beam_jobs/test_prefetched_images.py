"""The join of --images_from reads every image shard and every page shard once, however many there are of the other."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from beam_jobs.prefetched_images import FindImages
from mmc4_pipeline.images.from_img2dataset.join import key_of, unpack_found
from mmc4_pipeline.images.from_img2dataset.prefetched import PrefetchedImages
from tests.mmc4_pipeline.file_server import INPUTS
from tests.mmc4_pipeline.images.from_img2dataset.written_shards import Row, write_shard

IMAGES, PAGES = 120, 7  # shards; enough for several buckets
_reads: Counter[str] = Counter()


def url(image: int) -> str:
    return f"https://{image % 5}.example/{image}.jpg"


@dataclass(frozen=True)
class CountingImages(PrefetchedImages):
    """Counts how often each image shard is read for the join."""

    def by_bucket(self, number: int, buckets: int) -> Iterator[tuple[int, bytes]]:
        _reads[f"images {number}"] += 1
        return super().by_bucket(number, buckets)


def wanted(shard: int) -> set[str]:
    """Return the URLs of a page shard; the last of them is in no image shard, the first in every page shard."""
    _reads[f"pages {shard}"] += 1
    return {url(0), url(IMAGES), *(url(image) for image in range(shard, IMAGES, PAGES))}


@pytest.mark.parametrize("remaining", [list(range(PAGES)), [2, 5], []])
def test_every_shard_is_read_once(tmp_path: Path, remaining: list[int]) -> None:
    _reads.clear()
    tars = tuple(str(write_shard(tmp_path, number, [Row(url(number), b"jpeg")])) for number in range(IMAGES))
    images = CountingImages(INPUTS, tars, str(tmp_path / "index"), 1 << 20)
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        found = pipeline | FindImages(images, PAGES, remaining, wanted)
        of_shard = found | beam.MapTuple(lambda shard, blocks: (shard, set(unpack_found(blocks))))
        expected = {
            shard: {key_of(url(0)), *(key_of(url(image)) for image in range(shard, IMAGES, PAGES))}
            if shard in remaining
            else set()
            for shard in range(PAGES)
        }
        assert_that(of_shard, equal_to(list(expected.items())))
    reads = dict(_reads)
    assert reads == {f"pages {shard}": 1 for shard in remaining} | {
        f"images {number}": 1 for number in range(IMAGES if remaining else 0)
    }
