"""Divide documents into shards of bounded size that keep a site together, or in a few neighbouring shards.

The position of a document is 16 bytes: a hash of its site, then a hash of its URL. Each shard has the documents from
one position up to the next shard's first. So 16 bytes describe a shard, however many sites it has, and the captures of
a URL are in the same shard.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmc4_pipeline.naming import site_of, stable_hash

POSITION = np.dtype("S16")  # positions sort as bytes
_FIRST = bytes(16)
_SORTED_AT_ONCE = 4 << 20  # positions: 64 MB

Positions = NDArray[np.bytes_]


def hash_of_site(site: str) -> bytes:
    """Return the first half of the positions of a site's documents."""
    return stable_hash(site).to_bytes(8, "big")


def position(url: str) -> bytes:
    """Return the position of a document."""
    return hash_of_site(site_of(url)) + stable_hash(url).to_bytes(8, "big")


def positions(values: Iterable[bytes]) -> Positions:
    """Return positions as an array."""
    return np.frombuffer(b"".join(values), POSITION)


@dataclass(frozen=True)
class SiteShards:
    """The first position of each shard, ascending, and the sites that have several shards.

    `split_sites` has the first shard of such a site and how many there are, by the site's hash in hex.
    """

    firsts: Positions
    split_sites: dict[str, tuple[int, int]]

    @property
    def shards(self) -> int:
        """Return the number of shards."""
        return len(self.firsts)

    def of(self, found: Positions) -> NDArray[np.int64]:
        """Return the shard of each position."""
        return np.searchsorted(self.firsts, found, side="right") - 1


def divide(found: Iterable[Positions], limit: int) -> SiteShards:
    """Divide documents into shards. `found` has the positions of all, in ascending order; no site is in two arrays.

    A site of at most `limit` documents is in one shard, a larger one in shards of its own. No shard has more than
    twice `limit` documents, unless there are more captures of a single URL.
    """
    firsts: list[bytes] = []
    split: dict[str, tuple[int, int]] = {}
    in_last = limit  # documents in the last shard
    for array in found:
        halves = array.view(">u8").reshape(-1, 2)
        bounds = [*np.flatnonzero(np.diff(halves[:, 0], prepend=~halves[:1, 0])).tolist(), len(array)]
        for start, end in pairwise(bounds):
            documents = end - start
            if documents > limit:
                parts = _parts(halves[start:end], limit)
                split[parts[0][:8].hex()] = (len(firsts), len(parts))
                firsts += parts
                in_last = limit
                continue
            if in_last >= limit:
                firsts.append(_first_of_site(halves[start]))
                in_last = 0
            in_last += documents
    firsts[:1] = [_FIRST]  # documents that were not counted have a shard too
    return SiteShards(positions(firsts), {site: place for site, place in split.items() if place[1] > 1})


def _first_of_site(halves: NDArray[np.uint64]) -> bytes:
    return halves[:1].tobytes() + bytes(8)


def _parts(site: NDArray[np.uint64], limit: int) -> list[bytes]:
    """Return the first positions of a large site's shards, which have about the same number of documents."""
    number, firsts = ceil(len(site) / limit), [_first_of_site(site[0])]
    for part in range(1, number):
        first = site[part * len(site) // number]
        if first.tobytes() > firsts[-1] and first[1] != site[0][1]:
            firsts.append(first.tobytes())
    return firsts


def in_order(found: Iterable[Positions], documents: int) -> Iterator[Positions]:
    """Yield the positions of about that many documents in ascending order, in arrays that have whole sites.

    They are put into temporary files first if there are many.
    """
    ranges = max(1, ceil(documents / _SORTED_AT_ONCE))
    if ranges == 1:
        yield np.sort(np.concatenate([np.empty(0, POSITION), *found]))
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        paths = [Path(folder, str(number)) for number in range(ranges)]
        files: list[BinaryIO] = [stack.enter_context(path.open("wb")) for path in paths]
        for array in found:
            of = (array.view(">u8").reshape(-1, 2)[:, 0] >> np.uint64(32)) * np.uint64(ranges) >> np.uint64(32)
            for number in np.unique(of).tolist():
                files[number].write(array[of == number].tobytes())
        for path, file in zip(paths, files, strict=True):
            file.close()
            yield np.sort(np.fromfile(path, POSITION))
