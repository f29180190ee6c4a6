"""Drops images that are all over the web: placeholders, banners, tracking pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from filters.base import SampleFilter
from schemas.image import Image
from schemas.reasons import Reason

_ROWS = 512  # rows of the distance matrix at a time: 512 x 60,000 bytes fit into a small machine's cache


@dataclass(frozen=True)
class CorpusDuplicates(SampleFilter):
    """MMC4 (arXiv:2304.06939), section 3: drops images with more than 10 duplicates in a sample of 60,000.

    They are dropped in the whole corpus. Two images are duplicates if their perceptual hashes differ in at most
    `max_distance` bits.
    """

    sample: Annotated[int, Ge(1)]
    max_in_sample: Annotated[int, Ge(1)]
    max_distance: Annotated[int, Ge(0), Le(64)]

    reason = Reason.CORPUS_DUPLICATE

    def learn(self, phashes: Sequence[int], /) -> list[int]:
        """Compare all pairs of the sample and return the distinct hashes with too many duplicates, sorted."""
        hashes, copies = np.unique(np.array(phashes, dtype=np.uint64), return_counts=True)
        common: list[int] = []
        for start in range(0, len(hashes), _ROWS):
            rows = hashes[start : start + _ROWS]
            near = np.bitwise_count(rows[:, None] ^ hashes[None, :]) <= self.max_distance
            duplicates = near @ copies - 1  # an image is not a duplicate of itself
            common += rows[duplicates > self.max_in_sample].tolist()
        return common

    def decide(self, image: Image, learned: Sequence[int], /) -> str | None:
        """Compare the hash with each of those that are too common."""
        if image.phash is None:
            return None
        near = any((image.phash ^ common).bit_count() <= self.max_distance for common in learned)
        return self.reason if near else None
