"""Lists of denied content: what they may look like, and what they match."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.base import ContentHashes
from filters.denied_content import DeniedContent, LoadedDeniedContent, NearHashes
from schemas.reasons import Reason

BODY = b"the bytes of an image"
MD5, SHA1, SHA256 = (hashlib.new(name, BODY).hexdigest() for name in ("md5", "sha1", "sha256"))
PHASH, PDQ = "8f3c00ff12345678", "f8f8f0cc0e0f0f1c" * 4


def loaded(text: str, **thresholds: int) -> LoadedDeniedContent:
    return DeniedContent("list.txt", **thresholds).load(lambda _: text.encode())


def hashes(body: bytes = b"another", phash: str | None = None, pdq: str | None = None) -> ContentHashes:
    exact = (int(hashlib.new(name, body).hexdigest(), 16) for name in ("md5", "sha1", "sha256"))
    return ContentHashes(*exact, *(None if value is None else int(value, 16) for value in (phash, pdq)))


LISTS = {
    "md5": MD5,
    "sha1": SHA1.upper(),
    "sha256": f"  {SHA256}  # reported in May",
    "with kinds": f"# a list\n\nmd5:{MD5}\nsha1: {'0' * 40}",
    "byte order mark": f"\ufeff{MD5}\n",
    "windows": f"{'0' * 32}\r\n{MD5}\r\n",
    "csv": f"id,MD5,SHA-1\n1,{'0' * 32},\n2,{MD5.upper()},{SHA1}\n",
    "csv with quotes": f'"SHA256 hash","Category"\n"{SHA256}","A, B"\n',
}


@pytest.mark.parametrize("kind", LISTS)
def test_bytes_on_a_list_are_denied(kind: str) -> None:
    assert loaded(LISTS[kind]).decide(hashes(BODY)) == Reason.DENIED
    assert loaded(LISTS[kind]).decide(hashes()) is None


@pytest.mark.parametrize(
    ("text", "distance", "denied"),
    [
        (f"phash:{PHASH}", 0, True),
        (f"phash:{PHASH}", 4, True),
        (f"phash:{PHASH}", 5, False),
        (f"pdq:{PDQ}", 31, True),
        (f"pdq:{PDQ}", 32, False),
        (f"PDQ hash,source\n{PDQ},x\n", 31, True),
        (f"phash\n{PHASH}\n", 4, True),
    ],
)
def test_pictures_near_one_on_a_list_are_denied(text: str, distance: int, *, denied: bool) -> None:
    changed = (1 << distance) - 1
    near = hashes(phash=f"{int(PHASH, 16) ^ changed:x}", pdq=f"{int(PDQ, 16) ^ changed:x}")
    assert (loaded(text).decide(near) == Reason.DENIED) is denied
    assert loaded(text).decide(hashes()) is None  # an image that could not be decoded


@given(
    st.sets(st.integers(0, 2**64 - 1), min_size=1, max_size=30),
    st.integers(0, 16),
    st.integers(0, 2**64 - 1),
    st.data(),
)
def test_near_hashes_are_found_as_by_comparing_all(known: set[int], most: int, other: int, data: st.DataObject) -> None:
    index = NearHashes(known, 64, most)
    flips = data.draw(st.sets(st.integers(0, 63), max_size=20))
    for wanted in (other, min(known) ^ sum(1 << bit for bit in flips)):
        assert index.contains(wanted) is any((wanted ^ each).bit_count() <= most for each in known)


def test_near_hashes_of_256_bits_at_every_distance() -> None:
    random = np.random.default_rng(0)
    known = {int.from_bytes(random.bytes(32), "big") for _ in range(2_000)}
    index, some = NearHashes(known, 256, 31), sorted(known)[:60]
    for distance, each in enumerate(some):
        flips = random.choice(256, distance, replace=False)
        assert index.contains(each ^ sum(1 << int(bit) for bit in flips)) is (distance <= 31)


@pytest.mark.parametrize(
    "entry", ["http://a.example/a.jpg", "abc", "md5:abc", "phash:0", f"photodna:{MD5}", "g" * 32, f"{MD5},{SHA1}"]
)
def test_what_is_no_hash_is_refused_with_its_line(entry: str) -> None:
    with pytest.raises(ValueError, match=r"list\.txt:2: .*md5, sha1 or sha256"):
        loaded(f"{MD5}\n{entry}\n")


def test_an_empty_list_denies_nothing() -> None:
    assert loaded("").decide(hashes(BODY, PHASH, PDQ)) is None
    assert not loaded("").needs_pdq
    assert loaded(f"pdq:{PDQ}").needs_pdq


@pytest.mark.parametrize("thresholds", [{"max_phash_distance": 17}, {"max_pdq_distance": -1}])
def test_distances_at_which_anything_matches_are_refused(thresholds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="max_phash_distance"):
        DeniedContent("list.txt", **thresholds)
