"""Drops images with large flat areas, such as charts, screenshots and banners."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from filters.base import ImageFilter, Stricter
from schemas.image import Image


@dataclass(frozen=True)
class BytesPerPixel(ImageFilter):
    """Not in MMC4: at least `min` bytes of the received file per pixel. Flat areas compress to almost nothing."""

    min: Annotated[float, Ge(0)]

    stricter = {"min": Stricter.HIGHER}  # so the filter can be added, and `min` raised, after the images were fetched

    def decide(self, image: Image, /) -> str | None:
        """Compare the size of the file; an image that could not be measured is kept."""
        if image.byte_size is None or not image.width or not image.height:
            return None
        return self.reason if image.byte_size < self.min * image.width * image.height else None
