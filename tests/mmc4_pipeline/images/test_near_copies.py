"""Banding finds exactly the pairs within the distance, each once, compared with a search over all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.images.near_copies import BITS, Banding, Hashes, close_pairs

HASH = st.integers(0, 2**BITS - 1)
BIT = st.integers(0, BITS - 1)


@st.composite
def near_each_other(draw: st.DrawFn) -> list[int]:
    """Return distinct hashes, many of which differ in only a few bits."""
    hashes = set()
    for seed in draw(st.lists(HASH, min_size=1, max_size=4)):
        for flipped in draw(st.lists(st.sets(BIT, max_size=9), max_size=6)):
            hashes.add(seed ^ sum(1 << bit for bit in flipped))
    return sorted(hashes)


def pairs_of(hashes: list[int], banding: Banding) -> list[tuple[int, int]]:
    """Return the pairs of all tables."""
    array = np.array(hashes, dtype=np.uint64)
    return [
        (min(pair), max(pair))
        for table in range(len(banding.tables))
        for one, other in close_pairs(array, banding, table)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    ]


@given(near_each_other(), st.integers(0, 16), st.integers(1, 3))
def test_every_close_pair_is_found_once(hashes: list[int], distance: int, agreeing: int) -> None:
    if distance * agreeing > 32:  # otherwise there are thousands of tables
        agreeing = 1
    close = [
        (one, other)
        for index, one in enumerate(hashes)
        for other in hashes[index + 1 :]
        if (one ^ other).bit_count() <= distance
    ]
    assert sorted(pairs_of(hashes, Banding(distance, agreeing))) == sorted(close)


@pytest.mark.parametrize(("distance", "agreeing", "tables"), [(0, 1, 1), (5, 1, 6), (5, 2, 21), (5, 3, 56)])
def test_blocks_cover_the_hash_and_tables_choose_among_them(distance: int, agreeing: int, tables: int) -> None:
    banding = Banding(distance, agreeing)
    assert sum(block.mask for block in banding.blocks) == 2**BITS - 1
    assert len(banding.tables) == tables


@given(near_each_other(), st.integers(0, 8), st.integers(1, 3), st.integers(1, 9))
def test_the_slices_of_a_table_find_the_pairs_of_the_whole_table(
    hashes: list[int], distance: int, agreeing: int, number: int
) -> None:
    array, banding = np.array(hashes, dtype=np.uint64), Banding(distance, agreeing)
    table = len(hashes) % len(banding.tables)
    slices = banding.slices(array, table, number)
    assert set(slices.tolist()) <= set(range(number))
    assert sorted(pair for one in range(number) for pair in of_table(array[slices == one], banding, table)) == sorted(
        of_table(array, banding, table)
    )


def of_table(hashes: Hashes, banding: Banding, table: int) -> list[tuple[int, int]]:
    return [
        pair
        for one, other in close_pairs(hashes, banding, table)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    ]


@pytest.mark.parametrize("agreeing", [2, 3])
def test_the_slices_of_a_table_are_equally_large(agreeing: int) -> None:
    hashes = np.random.default_rng(agreeing).integers(0, 2**64, 70_000, dtype=np.uint64)
    banding = Banding(5, agreeing)
    for table in range(len(banding.tables)):
        sizes = np.bincount(banding.slices(hashes, table, 7), minlength=7)
        assert sizes.min() > 9_000
        assert sizes.max() < 11_000
