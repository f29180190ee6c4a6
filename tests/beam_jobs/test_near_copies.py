"""The hashes with too many copies in a corpus of many shards, compared with a search over all pairs."""

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from beam_jobs.near_copies import AT_ONCE, TooManyCopies, copies_hints, pack


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


@pytest.mark.parametrize("at_once", [10_000, 40])  # 40: several slices of each table
@pytest.mark.parametrize(("max_copies", "max_distance"), [(1, 0), (5, 5), (7, 5), (20, 8), (1000, 5)])
def test_only_hashes_with_too_many_copies_are_found(max_copies: int, max_distance: int, at_once: int) -> None:
    shards = corpus(max_copies)
    images = np.array([item for shard in shards for item in shard], dtype=np.uint64)
    near = (np.bitwise_count(images[:, None] ^ images[None, :]) <= max_distance).sum(axis=1)
    common = sorted(set(images[near > max_copies].tolist()))
    assert bool(common) == (max_copies < 1000)
    with TestPipeline(runner="FnApiRunner") as pipeline:
        packed = pipeline | beam.Create([pack(shard) for shard in shards])
        found = packed | TooManyCopies(max_copies, max_distance, at_once=at_once)
        assert_that(found, equal_to([pack(common)]))


def test_without_images_nothing_is_found() -> None:
    with TestPipeline(runner="FnApiRunner") as pipeline:
        found = pipeline | beam.Create([pack([]), pack([])]) | TooManyCopies(1, 5)
        assert_that(found, equal_to([b""]))


DATAFLOW = ("--runner", "DataflowRunner")


@pytest.mark.parametrize("images", [0, 10**6, 10**8, 10**10])
def test_the_memory_of_a_worker_is_bounded_and_only_dataflow_is_asked_for_it(images: int) -> None:
    assert copies_hints(PipelineOptions([]), images) == {}
    hints = copies_hints(PipelineOptions(DATAFLOW), images)
    assert hints == ({"min_ram": "4GB"} if images > AT_ONCE else {})


def test_the_steps_that_compare_have_the_hint_and_no_others() -> None:
    pipeline = beam.Pipeline(runner="FnApiRunner")
    _ = pipeline | beam.Create([pack([1])]) | TooManyCopies(1, 5, hints={"min_ram": "4GB"})
    components = pipeline.to_runner_api().components
    hinted = {
        step.unique_name.rpartition("/")[2]
        for step in components.transforms.values()
        if step.environment_id and components.environments[step.environment_id].resource_hints
    }
    assert {name for name in hinted if not name.startswith("FlatMap")} == {"Close pairs", "Close pairs of slices"}
