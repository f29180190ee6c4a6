"""The hashes with too many copies in a corpus of many shards, compared with a search over all pairs."""

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from beam_jobs.near_copies import TooManyCopies, pack


def corpus(seed: int) -> list[list[int]]:
    """Return the hashes of some shards: clusters of near copies, identical hashes, and unrelated ones."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 2**64, 300, dtype=np.uint64).tolist()
    for size in (2, 5, 6, 7, 30):
        first = int(random.integers(0, 2**64, dtype=np.uint64))
        for _ in range(size):
            flipped = random.choice(64, size=int(random.integers(0, 5)), replace=False)
            images.append(first ^ sum(1 << int(bit) for bit in flipped))
    images += [images[0]] * 8
    order = random.permutation(len(images))
    return [[images[index] for index in piece] for piece in np.array_split(order, 7)]


@pytest.mark.parametrize(("max_copies", "max_distance"), [(1, 0), (5, 5), (7, 5), (20, 8), (1000, 5)])
def test_only_hashes_with_too_many_copies_are_found(max_copies: int, max_distance: int) -> None:
    shards = corpus(max_copies)
    images = np.array([item for shard in shards for item in shard], dtype=np.uint64)
    near = (np.bitwise_count(images[:, None] ^ images[None, :]) <= max_distance).sum(axis=1)
    common = sorted(set(images[near > max_copies].tolist()))
    assert bool(common) == (max_copies < 1000)
    with TestPipeline(runner="FnApiRunner") as pipeline:
        found = pipeline | beam.Create([pack(shard) for shard in shards]) | TooManyCopies(max_copies, max_distance)
        assert_that(found, equal_to([pack(common)]))


def test_without_images_nothing_is_found() -> None:
    with TestPipeline(runner="FnApiRunner") as pipeline:
        found = pipeline | beam.Create([pack([]), pack([])]) | TooManyCopies(1, 5)
        assert_that(found, equal_to([b""]))
