"""Keeps one of several images of a document that look the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from filters.base import GroupFilter, Stricter
from schemas.image import Image
from schemas.reasons import Reason


@dataclass(frozen=True)
class DocumentDuplicates(GroupFilter):
    """MMC4, section 3: within a document, of images at most `max_distance` bits of pHash apart (5) one is kept.

    The first in page order stays. Images with the same bytes are duplicates whatever their hash says.
    """

    max_distance: Annotated[int, Ge(0), Le(64)]

    reason = Reason.DOCUMENT_DUPLICATE
    stricter = {"max_distance": Stricter.HIGHER}

    def decide(self, images: Sequence[Image]) -> list[str | None]:
        """Compare each image with those kept before it."""
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
