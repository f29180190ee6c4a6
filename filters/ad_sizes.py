"""Drops images of the exact size of an advertisement."""

import re
from dataclasses import dataclass

from filters.base import ImageFilter, Stricter
from schemas.image import Image
from schemas.reasons import Reason

# Fixed sizes of the Interactive Advertising Bureau and those that the large ad networks sell besides, width x height.
# Not the squares (125x125, 200x200, 250x250): of these sizes thumbnails are more common than ads.
STANDARD = (
    *("300x250", "336x280", "180x150", "240x400", "300x600", "300x1050"),
    *("120x240", "120x600", "160x600"),
    *("728x90", "970x90", "970x250", "468x60", "234x60", "88x31"),
    *("320x50", "300x50", "320x100"),
)
_SIZE = re.compile(r"[1-9]\d*x[1-9]\d*")


def check_sizes(sizes: tuple[str, ...]) -> None:
    """Raise ValueError for a size that is none."""
    for size in sizes:
        if not _SIZE.fullmatch(size):
            message = f"sizes: {size!r} is no size; write width and height in pixels, as in 300x250"
            raise ValueError(message)


@dataclass(frozen=True)
class AdSizes(ImageFilter):
    """Not in MMC4: drops by the size in pixels, as received. A weak sign, that many photographs share by chance.

    Pages cut photographs to 300x250 too, so expect to lose some. Of the standard sizes only 300x250, 336x280, 180x150,
    240x400 and 300x600 pass MMC4's resolution and aspect ratio; the others are lost to those anyway.
    """

    sizes: tuple[str, ...] = STANDARD

    reason = Reason.AD
    stricter = {"sizes": Stricter.SUPERSET}

    def __post_init__(self) -> None:
        """Refuse what is no size."""
        check_sizes(self.sizes)

    def decide(self, image: Image) -> str | None:
        """Compare width and height, to the pixel."""
        return self.reason if f"{image.width}x{image.height}" in self.sizes else None
