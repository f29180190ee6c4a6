"""The URLs that documents have, as Bloom filters: what is dropped of the index before anything is shuffled.

URLs are known by 64-bit hashes, which are spread over parts; each part is one file, written by one worker and read by
all. A filter never misses a wanted URL, and lets another one pass at the rate for which it was made.
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
from mmc4_pipeline.storage import WrittenFile

Hashes = NDArray[np.uint64]

_MAGIC = b"MMC4URLS"
_HEADER = np.dtype([("magic", "S8"), ("bits", "<u8"), ("probes", "<u8")])
_MAX_RATE = 0.01  # where documents are many and rows few: a filter that passes more is not worth its file
_MIN_BITS = 1 << 16  # in fewer, the probes of a hash meet too often
_LOW_HALF = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def hash_of(url: str) -> int:
    """Give a URL's 64-bit hash (XXH3): the same on every machine and in every version."""
    return int(xxhash.xxh3_64_intdigest(url.encode("utf-8", "surrogatepass")))


def hashes_of(urls: pa.Array) -> Hashes:
    """Give the hashes of an array of strings; a null has that of the empty string."""
    encoded = pc.fill_null(urls.cast(pa.binary()), b"").to_pylist()
    return np.fromiter(map(xxhash.xxh3_64_intdigest, encoded), np.uint64, len(encoded))


@dataclass(frozen=True, eq=False)
class BloomFilter:
    """A set of 64-bit hashes. `bits` has eight a byte, the lowest first; a hash sets `probes` of the first `size`.

    The probes of a hash follow from its two halves (Kirsch and Mitzenmacher, "Less Hashing, Same Performance", 2006).
    """

    bits: NDArray[np.uint8]
    size: int
    probes: int

    @classmethod
    def of(cls, hashes: Hashes, rate: float) -> "BloomFilter":
        """Make a filter that lets other hashes pass at `rate`; the same hashes in any order give the same filter."""
        distinct = np.unique(hashes)
        per_hash = -log(min(rate, _MAX_RATE)) / log(2) ** 2
        size, probes = max(_MIN_BITS, ceil(per_hash * len(distinct))), round(per_hash * log(2))
        bits = np.zeros(size, np.bool_)
        for probe in range(probes):
            bits[_position(distinct, probe, size)] = True
        return cls(np.packbits(bits, bitorder="little"), size, probes)

    def contains(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Tell of each hash whether it is in the set (always true if so) or not (nearly always false if not)."""
        left = np.arange(len(hashes))
        for probe in range(self.probes):  # few are left after the first probes: only those are looked at again
            at = _position(hashes[left], probe, self.size)
            left = left[((self.bits[at >> np.uint64(3)] >> (at & np.uint64(7)).astype(np.uint8)) & 1).view(np.bool_)]
        found = np.zeros(len(hashes), np.bool_)
        found[left] = True
        return found

    def write(self, path: str) -> WrittenFile:
        """Write the filter as a file, atomically."""
        header = np.array([(_MAGIC, self.size, self.probes)], _HEADER)
        return storage.write_bytes(path, header.tobytes() + self.bits.tobytes())

    @classmethod
    def read(cls, path: str) -> "BloomFilter":
        """Read a filter's file; a local one is mapped, so that the workers of a machine share it.

        Raises UserError where it is no such file.
        """
        if storage.size(path) > _HEADER.itemsize:
            local = storage.is_local(path)
            content = np.memmap(path, np.uint8, "r") if local else np.frombuffer(storage.read_bytes(path), np.uint8)
            header = content[: _HEADER.itemsize].view(_HEADER)[0]
            size, probes, bits = int(header["bits"]), int(header["probes"]), content[_HEADER.itemsize :]
            if header["magic"] == _MAGIC and len(bits) == ceil(size / 8):
                return cls(bits, size, probes)
        message = f"{path}: no filter of URLs; run the stage again with --resume"
        raise UserError(message)


def _position(hashes: Hashes, probe: int, size: int) -> Hashes:
    """Give the bit of each hash's n-th probe; `size` is below 2^32."""
    first, step = hashes >> _32, (hashes & _LOW_HALF) | np.uint64(1)
    return (((first + np.uint64(probe) * step) & _LOW_HALF) * np.uint64(size)) >> _32


def false_positive_rate(wanted: int, rows: int, share: float) -> float:
    """Give the rate at which of `rows` so many pass wrongly as is `share` of the wanted ones."""
    return share * wanted / max(1, rows)


def by_part(hashes: Hashes, parts: int) -> dict[int, Hashes]:
    """Split hashes by the part that they belong to; empty parts are left out."""
    order, ends = _order(hashes, parts)
    return {part: hashes[order[ends[part] : ends[part + 1]]] for part in range(parts) if ends[part] < ends[part + 1]}


def _order(hashes: Hashes, parts: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Give the order that puts the hashes part by part, and where in it each part begins (and the last one ends)."""
    numbers = (hashes % np.uint64(parts)).astype(np.uint16)  # 16 bits: numpy sorts those by counting
    order = np.argsort(numbers, kind="stable")
    return order, np.searchsorted(numbers[order], np.arange(parts + 1))


class WantedUrls:
    """All parts together. A part without a filter has no URL."""

    def __init__(self, filters: Mapping[int, BloomFilter], parts: int) -> None:
        self._filters, self._parts = filters, parts

    @classmethod
    def read(cls, files: Mapping[int, str], parts: int) -> "WantedUrls":
        """Read the parts' files; raises UserError where one is damaged."""
        return cls({part: BloomFilter.read(path) for part, path in files.items()}, parts)

    def among(self, urls: pa.Array) -> NDArray[np.bool_]:
        """Tell of each string of an array whether it is wanted; a null is not."""
        hashes = hashes_of(urls)
        wanted = np.zeros(len(hashes), np.bool_)
        order, ends = _order(hashes, self._parts)  # part by part: a part's filter fits a processor's cache
        for part, bloom in self._filters.items():
            rows = order[ends[part] : ends[part + 1]]
            wanted[rows] = bloom.contains(hashes[rows])
        valid: NDArray[np.bool_] = urls.is_valid().to_numpy(zero_copy_only=False)
        return wanted & valid
