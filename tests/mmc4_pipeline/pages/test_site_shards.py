"""No shard is too large, whatever the sites are; a site is kept together if it fits into a shard."""

from collections import Counter, defaultdict
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.pages import site_shards
from mmc4_pipeline.pages.site_shards import SiteShards, divide, hash_of_site, in_order, position, positions

# Documents per site, among them sites of about the limit and far above it.
SITES = st.lists(st.integers(1, 12) | st.integers(1, 150), max_size=15)


def urls_of(sites: list[int]) -> list[str]:
    return [f"https://w.site{site}.com/{page}" for site, pages in enumerate(sites) for page in range(pages)]


def divided(urls: list[str], limit: int, files: int = 1) -> SiteShards:
    arrays = [positions(map(position, urls[file::files])) for file in range(files)]
    return divide(in_order(arrays, len(urls)), limit)


def shards_of(shards: SiteShards, urls: list[str]) -> list[int]:
    found: list[int] = shards.of(positions(map(position, urls))).tolist()
    return found


@given(SITES, st.integers(1, 60))
def test_no_shard_has_more_than_twice_the_limit_and_none_is_empty(sites: list[int], limit: int) -> None:
    urls = urls_of(sites)
    shards = divided(urls, limit)
    counts = Counter(shards_of(shards, urls))
    assert max(counts.values(), default=0) <= 2 * limit
    assert sorted(counts) == list(range(shards.shards)) or not urls
    assert shards.shards <= 1 + 3 * len(urls) / limit


@given(SITES, st.integers(1, 60))
def test_only_sites_above_the_limit_are_split_and_have_shards_of_their_own(sites: list[int], limit: int) -> None:
    urls = urls_of(sites)
    shards = divided(urls, limit)
    shards_by_site: dict[str, set[int]] = defaultdict(set)
    sites_by_shard: dict[int, set[str]] = defaultdict(set)
    for url, shard in zip(urls, shards_of(shards, urls), strict=True):
        site = url.split("/")[2].removeprefix("w.")
        shards_by_site[site].add(shard)
        sites_by_shard[shard].add(site)
    split = {site: found for site, found in shards_by_site.items() if len(found) > 1}
    assert set(split) == {f"site{number}.com" for number, pages in enumerate(sites) if pages > limit}
    for site, found in split.items():
        assert all(sites_by_shard[shard] == {site} for shard in found)
        first, parts = shards.split_sites[hash_of_site(site).hex()]
        assert sorted(found) == list(range(first, first + parts))
    assert len(shards.split_sites) == len(split)


@given(SITES, st.integers(1, 60), st.randoms())
def test_order_and_files_of_the_documents_do_not_matter(sites: list[int], limit: int, random: Random) -> None:
    urls = urls_of(sites)
    expected = divided(urls, limit)
    random.shuffle(urls)
    found = divided(urls, limit, files=3)
    assert found.firsts.tobytes() == expected.firsts.tobytes()
    assert found.split_sites == expected.split_sites


def test_positions_that_do_not_fit_into_memory_are_sorted_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = urls_of([3, 500, 1, 40, 7] * 30)
    in_memory = divided(urls, 20, files=4)
    monkeypatch.setattr(site_shards, "_SORTED_AT_ONCE", 1000)
    arrays = list(in_order([positions(map(position, urls[file::4])) for file in range(4)], len(urls)))
    assert len(arrays) > 10
    assert np.concatenate(arrays).tobytes() == np.sort(positions(map(position, urls))).tobytes()
    counts = Counter(divide(arrays, 20).of(positions(map(position, urls))).tolist())
    assert max(counts.values()) <= 40
    assert divide(arrays, 20).split_sites.keys() == in_memory.split_sites.keys()


def test_the_captures_of_a_url_stay_together() -> None:
    urls = [f"https://a.example/{page}" for page in range(10) for _ in range(7)]
    shards = divided(urls, 5)
    assert len({*zip(urls, shards_of(shards, urls), strict=True)}) == 10


def test_documents_that_were_not_counted_have_a_shard() -> None:
    shards = divided(urls_of([50, 3, 9]), 5)
    assert set(shards_of(shards, urls_of([60] * 60))) <= set(range(shards.shards))
    assert set(shards_of(divided([], 5), ["https://a.example/"])) == {0}
