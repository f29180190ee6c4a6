"""Drops images whose content is on a list of hashes, as child-safety organisations and platforms distribute them."""

import re
from collections.abc import Callable, Iterator
from csv import DictReader
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import numpy.typing as npt

from filters.base import ContentFilter, ContentHashes, FileContentFilter
from schemas.reasons import Reason

_COMMENT = re.compile(r"(?:^|\s)#.*")
_LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64, "phash": 16, "pdq": 64}  # hex digits
_EXACT = ("md5", "sha1", "sha256")
_BY_LENGTH = {32: "md5", 40: "sha1", 64: "sha256"}  # of an entry without a prefix
_HEX = re.compile(r"[0-9a-f]+")
_SLOT = 16  # bits of a perceptual hash that are looked up at a time


@dataclass(frozen=True)
class DeniedContent(FileContentFilter):
    """Not in MMC4: an image is dropped as `denied` if its bytes or its picture are on a list.

    `list` is the path or URL of a text file, with one hash per line in hex digits: md5, sha1 or sha256 of the image's
    bytes as they are received, known by their length; or `md5:`, `sha1:`, `sha256:`, `phash:` or `pdq:` and the digits.
    Text after "#" is a comment. A CSV file may be given as it is distributed if its first line names one of these kinds
    ("md5", "SHA-256", "PDQ hash"); its other columns are ignored.

    `phash` is the 64-bit hash of the imagehash package, `pdq` the 256-bit hash of Meta's ThreatExchange, for which the
    package `pdqhash` must be installed. They match pictures whose hash differs by at most that many bits; 31 is what
    the authors of PDQ recommend. A match leaves no measurements, and its URL appears in the ledger as a hash only.
    """

    list: str
    max_phash_distance: int = 4
    max_pdq_distance: int = 31

    reason = Reason.DENIED

    def __post_init__(self) -> None:
        """Refuse distances at which unrelated pictures match."""
        if not (0 <= self.max_phash_distance <= 16 and 0 <= self.max_pdq_distance <= 64):
            raise ValueError("max_phash_distance must be 0 to 16 bits, and max_pdq_distance 0 to 64")

    def load(self, read: Callable[[str], bytes], /) -> "LoadedDeniedContent":
        """Read the list; raises ValueError with the number of a line that is not a hash."""
        found: dict[str, set[int]] = {kind: set() for kind in _LENGTHS}
        for kind, digits in _entries(self.list, read(self.list).decode("utf-8-sig", "replace")):
            found[kind].add(int(digits, 16))
        exact = {kind: frozenset(found[kind]) for kind in _EXACT}
        distances = {"phash": self.max_phash_distance, "pdq": self.max_pdq_distance}
        near = {kind: NearHashes(found[kind], 4 * _LENGTHS[kind], distances[kind]) for kind in distances if found[kind]}
        return LoadedDeniedContent(exact, near)


class LoadedDeniedContent(ContentFilter):
    """The filter with its list: hashes of bytes, and perceptual hashes."""

    reason = Reason.DENIED

    def __init__(self, exact: dict[str, frozenset[int]], near: dict[str, "NearHashes"]) -> None:
        self.exact, self.near = exact, near

    @property
    def needs_pdq(self) -> bool:
        """Return whether the list has PDQ hashes."""
        return "pdq" in self.near

    @property
    def needs_bytes(self) -> bool:
        """Return whether the list has hashes that a dataset does not keep, and only the bytes can be compared with."""
        return self.needs_pdq or any(self.exact[kind] for kind in ("md5", "sha1"))

    def decide(self, hashes: ContentHashes, /) -> str | None:
        """Look up all hashes of the image."""
        known = {kind: getattr(hashes, kind) for kind in _LENGTHS}
        if any(known[kind] in self.exact[kind] for kind in _EXACT):
            return self.reason
        found = any(known[kind] is not None and near.contains(known[kind]) for kind, near in self.near.items())
        return self.reason if found else None


@dataclass(frozen=True)
class NearHashes:
    """Perceptual hashes of some bits, in which those within a distance of another one are found.

    Of two hashes that differ by d bits, some slot of 16 bits differs by at most d / slots (Norouzi, Punjani and Fleet,
    "Fast Search in Hamming Space with Multi-Index Hashing", CVPR 2012).
    """

    hashes: set[int]
    bits: int
    distance: int
    _slots: list[tuple[npt.NDArray[np.uint16], npt.NDArray[np.intp]]] = field(init=False, repr=False)
    _rows: npt.NDArray[np.uint16] = field(init=False, repr=False)
    _flips: npt.NDArray[np.uint16] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Sort the hashes by each of their slots."""
        rows = np.stack([self._split(each) for each in sorted(self.hashes)])
        orders = [np.argsort(rows[:, slot], kind="stable") for slot in range(rows.shape[1])]
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "_slots", [(rows[order, slot], order) for slot, order in enumerate(orders)])
        object.__setattr__(self, "_flips", _flips(self.distance // rows.shape[1]))

    def _split(self, value: int) -> npt.NDArray[np.uint16]:
        return np.frombuffer(value.to_bytes(self.bits // 8, "big"), ">u2").astype(np.uint16)

    def contains(self, value: int) -> bool:
        """Return whether one of the hashes is within the distance."""
        wanted = self._split(value)
        for slot, (values, order) in enumerate(self._slots):
            near = wanted[slot] ^ self._flips
            first, end = np.searchsorted(values, near, "left"), np.searchsorted(values, near, "right")
            for start, stop in zip(first[first < end], end[first < end], strict=True):
                differing = np.bitwise_count(self._rows[order[start:stop]] ^ wanted).sum(axis=1)
                if differing.min() <= self.distance:
                    return True
        return False


def _flips(most: int) -> npt.NDArray[np.uint16]:
    """Return all 16-bit numbers with at most that many bits set."""
    masks = [sum(1 << bit for bit in bits) for count in range(most + 1) for bits in combinations(range(_SLOT), count)]
    return np.array(masks, np.uint16)


def _entries(path: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and the lower-case hex digits of each entry."""
    lines = text.splitlines()
    columns = _columns_of(lines[0]) if lines else {}
    if columns:
        for number, row in enumerate(DictReader(lines), start=2):
            for name, kind in columns.items():
                if value := (row.get(name) or "").strip():
                    yield kind, _digits(path, number, kind, value)
        return
    for number, line in enumerate(lines, start=1):
        if entry := _COMMENT.sub("", line).strip():
            prefix, colon, value = entry.rpartition(":")
            kind = prefix.strip().lower() if colon else _BY_LENGTH.get(len(entry), "")
            yield kind, _digits(path, number, kind, value.strip())


def _columns_of(header: str) -> dict[str, str]:
    """Return the columns of a CSV file that hold hashes, with their kinds; nothing if this is not a header."""
    names = {name: re.sub(r"[^a-z0-9]", "", name.lower()) for name in DictReader([header]).fieldnames or []}
    kinds = {f"{kind}{suffix}": kind for kind in _LENGTHS for suffix in ("", "hash")}
    return {name: kinds[plain] for name, plain in names.items() if plain in kinds}


def _digits(path: str, number: int, kind: str, value: str) -> str:
    digits = value.lower().removeprefix("0x")
    if kind not in _LENGTHS or len(digits) != _LENGTHS[kind] or not _HEX.fullmatch(digits):
        raise ValueError(
            f"{path}:{number}: {value[:100]!r} is not a hash; write the hex digits of md5, sha1 or sha256, or phash: "
            "and 16 digits, or pdq: and 64"
        )
    return digits
