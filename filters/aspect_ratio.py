"""Drops images that are much wider than high, or much higher than wide."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from filters.base import ImageFilter, Stricter
from schemas.image import Image


@dataclass(frozen=True)
class AspectRatio(ImageFilter):
    """MMC4 (arXiv:2304.06939), section 3: width / height from `min` to `max` (0.5 to 2), both included."""

    min: Annotated[float, Gt(0)]
    max: Annotated[float, Gt(0)]

    stricter = {"min": Stricter.HIGHER, "max": Stricter.LOWER}

    def __post_init__(self) -> None:
        """Raise ValueError if the range is empty."""
        if self.min > self.max:
            message = f"min ({self.min}) is above max ({self.max})"
            raise ValueError(message)

    def decide(self, image: Image, /) -> str | None:
        """Compare width / height; an image that was not measured is kept."""
        if image.width is None or image.height is None:
            return None
        return None if self.min <= image.width / image.height <= self.max else self.reason
