"""Names that must never change: a resumed run, another machine and a published ledger depend on them."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.formats.openflamingo import OpenFlamingo
from mmc4_pipeline.formats.registry import known_formats
from mmc4_pipeline.naming import (
    document_key,
    image_name,
    number_name,
    registered_domain,
    shard_name,
    shard_of,
    site_of,
    stable_hash,
)

MOMENT = datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)


def test_keys_are_those_of_every_run() -> None:
    # Computed once with sha256sum: printf 'https://a.example/\n2019-04-25T12:57:54Z' | sha256sum
    import hashlib

    digest = hashlib.sha256(b"https://a.example/\n2019-04-25T12:57:54Z").hexdigest()
    assert document_key("https://a.example/", MOMENT) == digest[:32]
    assert image_name("abc") == "ba7816bf8f01cfea4141.jpg"  # FIPS 180-4's example of SHA-256
    assert stable_hash("abc") == 0xBA7816BF8F01CFEA


def test_a_key_is_of_url_and_moment_whatever_the_time_zone() -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    key = document_key("https://a.example/", MOMENT)
    assert document_key("https://a.example/", elsewhere) == key
    assert document_key("https://a.example/", MOMENT + timedelta(seconds=1)) != key
    assert document_key("https://a.example/b", MOMENT) != key


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://news.example.co.uk/a", "example.co.uk"),
        ("http://EXAMPLE.com:8080/", "example.com"),
        ("http://user@www.example.com/", "example.com"),
        ("http://192.0.2.7/a.jpg", "192.0.2.7"),
        ("http://localhost/a", "localhost"),
        ("http://[2001:db8::1]/a", "2001:db8::1"),
        ("http://www.somebody.blogspot.com/", "somebody.blogspot.com"),  # a private domain of the Public Suffix List
        ("http://somebody.github.io/a", "somebody.github.io"),
        ("http://github.io/a", "github.io"),
        ("http://[broken/", ""),
        ("", ""),
    ],
)
def test_sites(url: str, site: str) -> None:
    assert site_of(url) == site


def test_all_hosts_of_a_provider_have_its_domain() -> None:
    urls = ("http://www.somebody.blogspot.com/", "//blogspot.com:80", "https://other.blogspot.com/")
    assert {registered_domain(url) for url in urls} == {"blogspot.com"}
    assert registered_domain("http://192.0.2.7/a.jpg") == "192.0.2.7"
    assert registered_domain("http://[broken/") == ""


@given(st.text(), st.integers(1, 50))
def test_shards_are_in_range_and_take_any_name(name: str, shards: int) -> None:
    assert 0 <= shard_of(name, shards) < shards


def test_shards_take_about_the_same_number_of_sites() -> None:
    counts = [0] * 10
    for number in range(5000):
        counts[shard_of(f"site{number}.example", 10)] += 1
    assert min(counts) > 400
    assert max(counts) < 600


def test_another_process_gives_the_same_shards() -> None:
    code = "from mmc4_pipeline.naming import shard_of; print([shard_of(str(n), 97) for n in range(20)])"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert other.stdout.strip() == str([shard_of(str(n), 97) for n in range(20)])


def test_shard_names_sort_as_their_numbers() -> None:
    names = [shard_name("pages", shard, 12) for shard in range(12)]
    assert names[3] == "pages-00003-of-00012"
    assert names == sorted(names)


@given(st.integers(1, 10**7), st.data())
def test_numbers_are_as_wide_as_the_last_so_that_a_brace_pattern_names_them(numbers: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, numbers - 1))
    first, last = number_name(0, numbers), number_name(numbers - 1, numbers)
    name = number_name(number, numbers)
    assert int(name) == number
    assert len(name) == len(first) == len(last) >= 5
    assert len(last) == 5 or not last.startswith("0")
    assert first <= name <= last  # as text, which is how folders are listed


def test_more_than_100_000_shards_have_six_digits() -> None:
    assert shard_name("pages", 3, 100_000) == "pages-00003-of-100000"
    assert shard_name("pages", 3, 182_500) == "pages-000003-of-182500"


@pytest.mark.parametrize(
    ("number", "shards", "name"),
    [
        (9_999, 10_000, "shard-09999.tar"),
        (0, 10_001, "0/shard-00000.tar"),
        (10_000, 10_001, "1/shard-10000.tar"),
        (3, 182_500, "00/shard-000003.tar"),
        (182_499, 182_500, "18/shard-182499.tar"),
    ],
)
def test_more_than_10_000_shards_are_in_folders(number: int, shards: int, name: str) -> None:
    assert OpenFlamingo().file_name(number, shards) == name
    assert OpenFlamingo().number_of(name) == number


@given(st.sampled_from(sorted(known_formats())), st.integers(1, 10**7), st.data())
def test_folders_are_small_sort_as_their_numbers_and_files_are_found_again(
    choice: str, shards: int, data: st.DataObject
) -> None:
    item = known_formats()[choice]()
    one, other = sorted(data.draw(st.tuples(*[st.integers(0, shards - 1)] * 2)))
    names = [item.file_name(number, shards) for number in (one, other)]
    assert names == sorted(names)
    assert [item.number_of(name) for name in names] == [one, other]
    folders = [name.rpartition("/")[0] for name in names]
    if folders[0] == folders[1]:
        assert other - one < 10_000


@pytest.mark.parametrize(
    "name",
    ["17/shard-182499.tar", "x/shard-182499.tar", "18/18/shard-182499.tar", "18/shard-182499.zip", "shard-1.tar"],
)
def test_a_shard_in_a_wrong_place_is_none(name: str) -> None:
    assert OpenFlamingo().number_of(name) is None
