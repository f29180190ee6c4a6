"""Banding finds exactly the pairs within the distance, each once, compared with a search over all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.images.near_copies import BITS, Banding, close_pairs

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
