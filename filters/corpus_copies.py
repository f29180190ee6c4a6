"""Drops images of which the whole corpus has too many copies."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from filters.base import CopiesFilter
from schemas.image import Image
from schemas.reasons import Reason


@dataclass(frozen=True)
class CorpusCopies(CopiesFilter):
    """An absolute bound beside MMC4's (`corpus_duplicates`, by a sample): no more than `max_copies` in all, exactly.

    A copy is an image at most `max_distance` bits of pHash apart, the image itself and identical ones included.
    """

    max_copies: Annotated[int, Ge(1)]
    max_distance: Annotated[int, Ge(0), Le(16)]

    reason = Reason.CORPUS_DUPLICATE

    def decide(self, image: Image, learned: Sequence[int]) -> str | None:
        """Look the hash up among those with too many copies."""
        if image.phash is None:
            return None
        place = bisect_left(learned, image.phash)
        return self.reason if place < len(learned) and learned[place] == image.phash else None
