"""Every shard is in one group, and no site is in two, so that two processes never fetch from its hosts."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.images.shard_groups import shard_groups


@given(st.integers(1, 300), st.integers(1, 64), st.lists(st.tuples(st.integers(0, 5), st.integers(2, 90))))
def test_sites_stay_together(shards: int, size: int, gaps: list[tuple[int, int]]) -> None:
    sites, end = [], 0
    for gap, parts in gaps:
        if end + gap + parts <= shards:
            sites.append((end + gap, parts))
            end += gap + parts
    groups = shard_groups(shards, size, sites)
    assert [shard for first, end in groups for shard in range(first, end)] == list(range(shards))
    for first, parts in sites:
        assert any(begin <= first and first + parts <= end for begin, end in groups)
    largest = max((parts for _, parts in sites), default=1)
    assert all(end - first < size + largest for first, end in groups)
    assert all(end - first >= size for (first, end), _ in pairwise(groups))


def test_without_large_sites_groups_have_the_same_size() -> None:
    assert shard_groups(10, 4, []) == [(0, 4), (4, 8), (8, 10)]
    assert shard_groups(10, 4, [(2, 5)]) == [(0, 7), (7, 10)]
