"""Keeps one of several images of a document that look alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from filters.base import GroupFilter, Stricter
from schemas.image import Image
from schemas.reasons import Reason


@dataclass(frozen=True)
class DocumentDuplicates(GroupFilter):
    """MMC4 (arXiv:2304.06939), section 3: within a document, keeps one of several duplicates.

    Two images are duplicates if their perceptual hashes differ in at most `max_distance` bits (5), or if they have the
    same bytes. The first one in page order is kept.
    """

    max_distance: Annotated[int, Ge(0), Le(64)]

    reason = Reason.DOCUMENT_DUPLICATE
    stricter = {"max_distance": Stricter.HIGHER}

    def decide(self, images: Sequence[Image], /) -> list[str | None]:
        """Compare each image with those before it that are kept."""
        kept: list[Image] = []
        reasons: list[str | None] = []
        for image in images:
            if any(self._alike(image, other) for other in kept):
                reasons.append(self.reason)
            else:
                reasons.append(None)
                kept.append(image)
        return reasons

    def _alike(self, image: Image, other: Image) -> bool:
        if image.sha256 is not None and image.sha256 == other.sha256:
            return True
        if image.phash is None or other.phash is None:
            return False
        return (image.phash ^ other.phash).bit_count() <= self.max_distance
