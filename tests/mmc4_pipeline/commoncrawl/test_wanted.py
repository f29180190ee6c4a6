"""The filters of wanted URLs: nothing wanted is missed, little else passes, and a file keeps its content."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.commoncrawl.wanted import (
    BloomFilter,
    WantedUrls,
    by_part,
    false_positive_rate,
    hash_of,
    hashes_of,
)
from mmc4_pipeline.errors import UserError

RANDOM = np.random.default_rng(7)


def any_hashes(count: int) -> np.ndarray:
    return RANDOM.integers(0, 2**64 - 1, count, dtype=np.uint64)


@given(st.lists(st.text(max_size=20), max_size=50), st.sampled_from([1e-9, 1e-3, 0.9]), st.integers(1, 5))
def test_every_wanted_url_is_found(urls: list[str], rate: float, parts: int) -> None:
    hashes = np.array([hash_of(url) for url in urls], np.uint64)
    filters = {part: BloomFilter.of(found, rate) for part, found in by_part(hashes, parts).items()}
    assert WantedUrls(filters, parts).among(pa.array(urls, pa.string())).all()


@pytest.mark.parametrize(("count", "rate"), [(20_000, 0.007), (20_000, 0.0005), (20_000, 0.5)])
def test_others_pass_at_the_rate_that_was_asked_for(count: int, rate: float) -> None:
    bloom = BloomFilter.of(any_hashes(count), rate)
    passed = bloom.contains(any_hashes(1_000_000)).mean()
    assert passed < min(rate, 0.01) * 1.3 + 0.00005
    assert passed > min(rate, 0.01) * 0.7 - 0.00005  # a lower rate would mean a larger file than needed


def test_a_small_set_lets_next_to_nothing_pass() -> None:
    assert BloomFilter.of(any_hashes(3), 1e-9).contains(any_hashes(1_000_000)).sum() == 0


def test_a_crawl_s_filters_take_as_many_bits_as_they_should() -> None:
    one_shard = BloomFilter.of(any_hashes(10_000), false_positive_rate(356_000, 2_500_000_000, 0.05))
    all_of_c4 = BloomFilter.of(any_hashes(10_000), false_positive_rate(365_000_000, 2_500_000_000, 0.05))
    assert one_shard.size / 10_000 == pytest.approx(25, abs=1)
    assert all_of_c4.size / 10_000 == pytest.approx(10, abs=1)


def test_only_what_the_set_is_counts_for_its_bytes(tmp_path: Path) -> None:
    hashes = any_hashes(1000)
    one = BloomFilter.of(hashes, 0.001).write(str(tmp_path / "a.bloom"))
    two = BloomFilter.of(np.concatenate([hashes[::-1], hashes[:10]]), 0.001).write(str(tmp_path / "b.bloom"))
    assert one.sha256 == two.sha256


def test_a_hash_is_the_same_for_ever() -> None:
    assert hash_of("https://a.example/ä") == 0xA9EF70A2D030B5C0
    assert hashes_of(pa.array(["https://a.example/ä", ""])).tolist() == [hash_of("https://a.example/ä"), hash_of("")]


def test_parts_are_written_and_read(tmp_path: Path) -> None:
    urls = [f"https://a.example/{number}" for number in range(3000)]
    hashes = hashes_of(pa.array(urls))
    split = by_part(hashes, 7)
    assert sorted(np.concatenate(list(split.values()))) == sorted(hashes)
    files = {part: str(tmp_path / f"{part}.bloom") for part in split}
    for part, found in split.items():
        BloomFilter.of(found, 1e-9).write(files[part])
    wanted = WantedUrls.read(files, 7)
    given = pa.array([*urls, None, "https://b.example/", ""])
    assert wanted.among(given).tolist() == [True] * 3000 + [False] * 3
    del files[3]  # a part without documents has no file
    assert WantedUrls.read(files, 7).among(given).sum() == 3000 - len(split[3])


def test_a_null_is_not_wanted_where_the_empty_url_is() -> None:
    wanted = WantedUrls({0: BloomFilter.of(hashes_of(pa.array([""])), 0.01)}, 1)
    assert wanted.among(pa.array(["", None])).tolist() == [True, False]


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"x" + content, lambda _: b""])
def test_a_damaged_file_is_named(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "part.bloom"
    BloomFilter.of(any_hashes(100), 0.01).write(str(path))
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(UserError, match=r"part\.bloom: .*--resume"):
        BloomFilter.read(str(path))
