"""Keep the documents' URLs as Bloom filters, which drop most rows of the index before anything is shuffled.

URLs are represented by 64-bit hashes, which are spread over parts; each part is one file, written by one worker and
read by all. A filter never misses a wanted URL, and lets others pass at the rate for which it was made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from schemas.manifest import WrittenFile

Hashes = NDArray[np.uint64]

_MAGIC = b"MMC4URLS"
_HEADER = np.dtype([("magic", "S8"), ("bits", "<u8"), ("probes", "<u8")])
_MAX_RATE = 0.01  # for many documents and few rows: a filter that lets more pass is not worth its file
_MIN_BITS = 1 << 16  # with fewer bits, the probes of a hash collide too often
_LOW_HALF = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def hash_of(url: str) -> int:
    """Return a URL's 64-bit hash (XXH3), which is the same on every machine and in every version."""
    return int(xxhash.xxh3_64_intdigest(url.encode("utf-8", "surrogatepass")))


def hashes_of(urls: pa.Array) -> Hashes:
    """Return the hashes of an array of strings; null hashes like the empty string."""
    encoded = pc.fill_null(urls.cast(pa.binary()), b"").to_pylist()
    return np.fromiter(map(xxhash.xxh3_64_intdigest, encoded), np.uint64, len(encoded))


@dataclass(frozen=True, eq=False)
class BloomFilter:
    """A set of 64-bit hashes. `bits` holds eight per byte, lowest first; a hash sets `probes` of the first `size` bits.

    The probes of a hash follow from its two halves (Kirsch and Mitzenmacher, "Less Hashing, Same Performance", 2006).
    """

    bits: NDArray[np.uint8]
    size: int
    probes: int

    @classmethod
    def of(cls, hashes: Hashes, rate: float) -> "BloomFilter":
        """Make a filter that lets other hashes pass at `rate`; the order of the hashes does not matter."""
        distinct = np.unique(hashes)
        per_hash = -log(min(rate, _MAX_RATE)) / log(2) ** 2
        size, probes = max(_MIN_BITS, ceil(per_hash * len(distinct))), round(per_hash * log(2))
        bits = np.zeros(size, np.bool_)
        for probe in range(probes):
            bits[_position(distinct, probe, size)] = True
        return cls(np.packbits(bits, bitorder="little"), size, probes)

    def contains(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Return for each hash whether it is in the set: always True if it is, nearly always False if it is not."""
        remaining = np.arange(len(hashes))
        for probe in range(self.probes):  # few remain after the first probes, and only those are checked again
            at = _position(hashes[remaining], probe, self.size)
            is_set = (self.bits[at >> np.uint64(3)] >> (at & np.uint64(7)).astype(np.uint8)) & 1
            remaining = remaining[is_set.view(np.bool_)]
            if not len(remaining):
                break
        found = np.zeros(len(hashes), np.bool_)
        found[remaining] = True
        return found

    def to_bytes(self) -> bytes:
        """Return the filter as it is stored."""
        header = np.array([(_MAGIC, self.size, self.probes)], _HEADER)
        return header.tobytes() + self.bits.tobytes()

    @classmethod
    def from_bytes(cls, content: NDArray[np.uint8]) -> "BloomFilter | None":
        """Return a stored filter, None if the bytes are not one."""
        if len(content) <= _HEADER.itemsize:
            return None
        header, bits = content[: _HEADER.itemsize].view(_HEADER)[0], content[_HEADER.itemsize :]
        size, probes = int(header["bits"]), int(header["probes"])
        return cls(bits, size, probes) if header["magic"] == _MAGIC and len(bits) == ceil(size / 8) else None

    def write(self, path: str) -> WrittenFile:
        """Write the filter as a file, atomically."""
        return storage.write_bytes(path, self.to_bytes())

    @classmethod
    def read(cls, path: str) -> "BloomFilter":
        """Read a filter's file; a local file is mapped, so that the workers of a machine share it.

        Raises UserError if it is not a filter's file.
        """
        if storage.size(path) > 0:  # an empty file cannot be mapped
            local = storage.is_local(path)
            content = np.memmap(path, np.uint8, "r") if local else np.frombuffer(storage.read_bytes(path), np.uint8)
            if (found := cls.from_bytes(content)) is not None:
                return found
        raise UserError(f"{path}: not a filter of URLs; run the stage again with --resume")


def _position(hashes: Hashes, probe: int, size: int) -> Hashes:
    """Return the bit of each hash's n-th probe; `size` is below 2^32."""
    first, step = hashes >> _32, (hashes & _LOW_HALF) | np.uint64(1)
    return (((first + np.uint64(probe) * step) & _LOW_HALF) * np.uint64(size)) >> _32


def false_positive_rate(wanted: int, rows: int, share: float) -> float:
    """Return the rate at which as many of `rows` pass by mistake as `share` of the number of wanted ones."""
    return share * wanted / max(1, rows)


def by_part(hashes: Hashes, parts: int) -> dict[int, Hashes]:
    """Split hashes by the part to which they belong; empty parts are left out."""
    order, ends = _order(hashes, parts)
    return {part: hashes[order[ends[part] : ends[part + 1]]] for part in range(parts) if ends[part] < ends[part + 1]}


def _order(hashes: Hashes, parts: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the order that sorts the hashes by part, and where in it each part begins (and the last one ends)."""
    numbers = (hashes % np.uint64(parts)).astype(np.uint16)  # 16 bits: numpy sorts those by counting
    order = np.argsort(numbers, kind="stable")
    return order, np.searchsorted(numbers[order], np.arange(parts + 1))


class WantedUrls:
    """The filters of all parts. A part without a filter has no URL."""

    def __init__(self, filters: Mapping[int, BloomFilter], parts: int) -> None:
        self._filters, self._parts = filters, parts

    @classmethod
    def read(cls, files: Mapping[int, str], parts: int) -> "WantedUrls":
        """Read the parts' files; raises UserError if one is damaged."""
        return cls({part: BloomFilter.read(path) for part, path in files.items()}, parts)

    def among(self, urls: pa.Array) -> NDArray[np.bool_]:
        """Return for each string of an array whether it is wanted; null is not."""
        hashes = hashes_of(urls)
        wanted = np.zeros(len(hashes), np.bool_)
        order, ends = _order(hashes, self._parts)  # part by part: a part's filter fits a processor's cache
        for part, bloom in self._filters.items():
            rows = order[ends[part] : ends[part + 1]]
            wanted[rows] = bloom.contains(hashes[rows])
        valid: NDArray[np.bool_] = urls.is_valid().to_numpy(zero_copy_only=False)
        return wanted & valid
