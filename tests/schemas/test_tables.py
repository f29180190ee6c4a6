"""Tables that are cut to size and added up must still say what a table of everything would."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from schemas.reasons import Reason
from schemas.tables import TOP_DUPLICATES, TOP_SITES, DuplicateGroups, Duplicates, Sites

SITES = st.dictionaries(
    st.integers(0, 10**6).map(lambda number: f"{number}.example"),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),  # kept, dropped
    max_size=200,
)
SHARDS = st.lists(st.lists(st.integers(0, 120), max_size=150), max_size=5)  # hashes of dropped images


def table(sites: dict[str, tuple[int, int]]) -> Sites:
    result = Sites()
    for name, (kept, dropped) in sites.items():
        site = result.site(name)
        site.links, site.kept, site.dropped = kept + dropped, kept, Counter(timeout=dropped)
    result.bound()
    return result


@given(sites=SITES, shards=st.integers(1, 7))
def test_tables_of_whole_sites_add_up_to_exactly_the_largest_of_all(
    sites: dict[str, tuple[int, int]], shards: int
) -> None:
    total = Sites()
    for shard in range(shards):
        total += Sites.from_json(
            table(
                {name: site for number, (name, site) in enumerate(sites.items()) if number % shards == shard}
            ).to_json()
        )
    by_kept = sorted((-kept, name) for name, (kept, _) in sites.items() if kept)[:TOP_SITES]
    by_dropped = sorted((-dropped, name) for name, (_, dropped) in sites.items() if dropped)[:TOP_SITES]
    assert [(-site.kept, name) for name, site in total.by_kept()] == by_kept
    assert [(-site.dropped["timeout"], name) for name, site in total.by_dropped()] == by_dropped
    assert total.count == len(sites)
    assert len(total.top) <= 2 * TOP_SITES


def groups(hashes: list[int], shard: int) -> DuplicateGroups:
    result = DuplicateGroups()
    for phash in hashes:
        result.add(Duplicates(Reason.CORPUS_DUPLICATE, phash, 1, "", shard, 512, 9))
    result.bound()
    return result


@given(shards=SHARDS)
def test_a_group_of_duplicates_is_never_counted_too_high(shards: list[list[int]]) -> None:
    total = DuplicateGroups()
    for number, hashes in enumerate(shards):
        total += DuplicateGroups.from_json(groups(hashes, number).to_json())
    truth = Counter(phash for hashes in shards for phash in hashes)
    assert len(total.top) == min(len(truth), TOP_DUPLICATES) or len(truth) > TOP_DUPLICATES
    assert all(group.count <= truth[group.phash] for group in total.largest())
    if len(truth) <= TOP_DUPLICATES:
        assert {group.phash: group.count for group in total.largest()} == truth
