"""Counts near copies among perceptual hashes, exactly: Hamming banding by the pigeonhole principle, then verification.

The 64 bits are cut into `distance + agreeing` blocks. Two hashes at most `distance` bits apart differ in at most that
many blocks, so they agree in `agreeing` blocks at least: for each choice of as many blocks there is a table, and each
such pair stands in one bucket of one table or more (Manku, Jain and Das Sarma 2007, section 3, for all pairs).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
BITS = 64


@dataclass(frozen=True, slots=True)
class Block:
    """Some neighbouring bits of a hash: `width` of them from bit `start`, bit 0 being the lowest."""

    start: int
    width: int

    @property
    def mask(self) -> int:
        """The bits as a mask."""
        return ((1 << self.width) - 1) << self.start


@dataclass(frozen=True)
class Banding:
    """How hashes are put into buckets. More agreeing blocks make more tables of smaller buckets."""

    distance: int
    agreeing: int

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks, as even as 64 bits allow."""
        number = min(BITS, self.distance + self.agreeing)
        edges = [BITS * block // number for block in range(number + 1)]
        return tuple(Block(start, end - start) for start, end in pairwise(edges))

    @cached_property
    def tables(self) -> list[tuple[Block, ...]]:
        """The blocks that agree in each table."""
        return list(combinations(self.blocks, max(1, len(self.blocks) - self.distance)))

    def order(self, table: int) -> list[Block]:
        """Give all blocks, those that agree in the table first."""
        agreeing = self.tables[table]
        return [*agreeing, *(block for block in self.blocks if block not in agreeing)]


def close_pairs(hashes: Hashes, banding: Banding, table: int) -> Iterator[tuple[Hashes, Hashes]]:
    """Yield the pairs within the distance that this table is the first to have in a bucket, as two arrays of hashes.

    Over all tables each such pair of the distinct `hashes`, shape (n,), comes once, and no other.
    """
    order = banding.order(table)
    bucketed = np.sort(_rearranged(hashes, order))  # whole hashes: they sort faster than positions by their keys
    keys = bucketed >> np.uint64(BITS - sum(block.width for block in banding.tables[table]))
    # Each against the next, the one after that, …: those whose bucket goes on are left for the next step.
    left, step = np.flatnonzero(keys[1:] == keys[:-1]), 1
    while len(left):
        one, other = bucketed[left], bucketed[left + step]
        close = np.bitwise_count(one ^ other) <= banding.distance
        one, other = _put_back(one[close], order), _put_back(other[close], order)
        first = _is_first(one ^ other, banding, table)
        if first.any():
            yield one[first], other[first]
        step += 1
        left = left[: np.searchsorted(left, len(keys) - step)]
        left = left[keys[left] == keys[left + step]]


def _rearranged(hashes: Hashes, order: list[Block]) -> Hashes:
    """Move the blocks of hashes into this order, the first one highest."""
    result, end = np.zeros_like(hashes), BITS
    for block in order:
        end -= block.width
        result |= ((hashes >> np.uint64(block.start)) & np.uint64((1 << block.width) - 1)) << np.uint64(end)
    return result


def _put_back(rearranged: Hashes, order: list[Block]) -> Hashes:
    """Undo `_rearranged`."""
    result, end = np.zeros_like(rearranged), BITS
    for block in order:
        end -= block.width
        result |= ((rearranged >> np.uint64(end)) & np.uint64((1 << block.width) - 1)) << np.uint64(block.start)
    return result


def _is_first(different: Hashes, banding: Banding, table: int) -> npt.NDArray[np.bool_]:
    """Tell of pairs, given by their differing bits, whether no earlier table has them in a bucket."""
    first = np.ones(len(different), dtype=np.bool_)
    for earlier in banding.tables[:table]:
        first &= (different & np.uint64(sum(block.mask for block in earlier))) != 0
    return first
