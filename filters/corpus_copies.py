"""Drops images that have too many copies in the whole corpus."""

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
    """Drop every image that has more than `max_copies` copies in the whole corpus, counted exactly.

    Copies are all images whose pHash differs in at most `max_distance` bits, including the image itself. In contrast,
    `corpus_duplicates`, which MMC4 uses, estimates the number of copies from a sample, so its threshold depends on the
    size of the corpus. No built-in recipe has this filter, because each worker that counts needs 12 bytes of memory per
    distinct hash. To drop logos and icons, for example: `corpus_copies: {max_copies: 100, max_distance: 5}`.
    """

    max_copies: Annotated[int, Ge(1)]
    max_distance: Annotated[int, Ge(0), Le(16)]

    reason = Reason.CORPUS_DUPLICATE

    def decide(self, image: Image, learned: Sequence[int], /) -> str | None:
        """Look up the hash among those with too many copies."""
        if image.phash is None:
            return None
        place = bisect_left(learned, image.phash)
        return self.reason if place < len(learned) and learned[place] == image.phash else None
