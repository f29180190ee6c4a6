"""Drops images with a side that is too short."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from filters.base import ImageFilter, Stricter
from schemas.image import Image
from schemas.reasons import Reason


@dataclass(frozen=True)
class Resolution(ImageFilter):
    """MMC4 (arXiv:2304.06939), section 3: width and height of at least `min_side` pixels (150), as received."""

    min_side: Annotated[int, Ge(1)]

    reason = Reason.TOO_SMALL
    stricter = {"min_side": Stricter.HIGHER}

    def decide(self, image: Image, /) -> str | None:
        """Compare the shorter side; an image that was not measured is kept."""
        if image.width is None or image.height is None:
            return None
        return self.reason if min(image.width, image.height) < self.min_side else None
