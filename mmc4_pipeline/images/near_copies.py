"""Finds all near copies among perceptual hashes: Hamming banding by the pigeonhole principle, then verification.

The 64 bits are divided into `distance + agreeing` blocks. Two hashes that differ in at most `distance` bits differ in
at most that many blocks, so they agree in at least `agreeing` blocks. There is one table for each combination of
`agreeing` blocks, and such a pair is in the same bucket of at least one table (Manku, Jain and Das Sarma 2007,
section 3, here for all pairs).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
BITS = 64
_MIXER = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: Knuth, The Art of Computer Programming, volume 3, 6.4


@dataclass(frozen=True, slots=True)
class Block:
    """Adjacent bits of a hash: `width` bits from bit `start`; bit 0 is the lowest."""

    start: int
    width: int

    @property
    def mask(self) -> int:
        """Return the bits as a mask."""
        return ((1 << self.width) - 1) << self.start


@dataclass(frozen=True)
class Banding:
    """How hashes are put into buckets. More agreeing blocks mean more tables with smaller buckets."""

    distance: int
    agreeing: int

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Return the blocks, as equal in width as 64 bits allow."""
        number = min(BITS, self.distance + self.agreeing)
        edges = [BITS * block // number for block in range(number + 1)]
        return tuple(Block(start, end - start) for start, end in pairwise(edges))

    @cached_property
    def tables(self) -> list[tuple[Block, ...]]:
        """Return the blocks that agree in each table."""
        return list(combinations(self.blocks, max(1, len(self.blocks) - self.distance)))

    def order(self, table: int) -> list[Block]:
        """Return all blocks, starting with those that agree in the table."""
        agreeing = self.tables[table]
        return [*agreeing, *(block for block in self.blocks if block not in agreeing)]

    def slices(self, hashes: Hashes, table: int, number: int) -> npt.NDArray[np.intp]:
        """Return the slice of a table, 0 to number - 1, for each hash; all hashes of a bucket are in the same slice."""
        buckets = hashes & np.uint64(sum(block.mask for block in self.tables[table]))
        mixed = (buckets * _MIXER) >> np.uint64(32)  # the highest bits depend on all bits of the bucket
        return (mixed % np.uint64(number)).astype(np.intp)


def close_pairs(hashes: Hashes, banding: Banding, table: int) -> Iterator[tuple[Hashes, Hashes]]:
    """Yield the pairs within the distance for which this table is the first with both in a bucket, as two arrays.

    All tables together yield each such pair of the distinct `hashes`, of shape (n,), exactly once.
    """
    order = banding.order(table)
    bucketed = np.sort(_rearranged(hashes, order))  # sorting whole hashes is faster than sorting positions by key
    keys = bucketed >> np.uint64(BITS - sum(block.width for block in banding.tables[table]))
    # Compare each hash with the next one, then with the one after that, and so on to the end of its bucket.
    remaining, step = np.flatnonzero(keys[1:] == keys[:-1]), 1
    while len(remaining):
        one, other = bucketed[remaining], bucketed[remaining + step]
        close = np.bitwise_count(one ^ other) <= banding.distance
        one, other = _restored(one[close], order), _restored(other[close], order)
        first = _is_first(one ^ other, banding, table)
        if first.any():
            yield one[first], other[first]
        step += 1
        remaining = remaining[: np.searchsorted(remaining, len(keys) - step)]
        remaining = remaining[keys[remaining] == keys[remaining + step]]


def _rearranged(hashes: Hashes, order: list[Block]) -> Hashes:
    """Return the hashes with their blocks in this order, the first one highest."""
    result, end = np.zeros_like(hashes), BITS
    for block in order:
        end -= block.width
        result |= ((hashes >> np.uint64(block.start)) & np.uint64((1 << block.width) - 1)) << np.uint64(end)
    return result


def _restored(rearranged: Hashes, order: list[Block]) -> Hashes:
    """Return the original hashes; the reverse of `_rearranged`."""
    result, end = np.zeros_like(rearranged), BITS
    for block in order:
        end -= block.width
        result |= ((rearranged >> np.uint64(end)) & np.uint64((1 << block.width) - 1)) << np.uint64(block.start)
    return result


def _is_first(different: Hashes, banding: Banding, table: int) -> npt.NDArray[np.bool_]:
    """Return for each pair, given by its differing bits, whether no earlier table has both in a bucket."""
    first = np.ones(len(different), dtype=np.bool_)
    for earlier in banding.tables[:table]:
        first &= (different & np.uint64(sum(block.mask for block in earlier))) != 0
    return first
