"""Drops images that have exactly the size of an advertisement."""

import re
from dataclasses import dataclass

from filters.base import ImageFilter, Stricter
from schemas.image import Image
from schemas.reasons import Reason

# Width x height: the fixed sizes of the Interactive Advertising Bureau, and others that the large ad networks sell.
# Squares (125x125, 200x200, 250x250) are left out, because more thumbnails than ads have these sizes.
STANDARD = (
    *("300x250", "336x280", "180x150", "240x400", "300x600", "300x1050"),
    *("120x240", "120x600", "160x600"),
    *("728x90", "970x90", "970x250", "468x60", "234x60", "88x31"),
    *("320x50", "300x50", "320x100"),
)
_SIZE = re.compile(r"[1-9]\d*x[1-9]\d*")


def check_sizes(sizes: tuple[str, ...]) -> None:
    """Raise ValueError if a size is not valid."""
    for size in sizes:
        if not _SIZE.fullmatch(size):
            raise ValueError(f"sizes: {size!r} is not a valid size; write width and height in pixels, such as 300x250")


@dataclass(frozen=True)
class AdSizes(ImageFilter):
    """Not in MMC4: drops by the size in pixels, as received.

    The size alone is weak evidence: pages crop photographs to 300x250 too, and these are dropped. Among the standard
    sizes, only 300x250, 336x280, 180x150, 240x400 and 300x600 pass MMC4's filters for resolution and aspect ratio,
    which drop the others anyway.
    """

    sizes: tuple[str, ...] = STANDARD

    reason = Reason.AD
    stricter = {"sizes": Stricter.SUPERSET}

    def __post_init__(self) -> None:
        """Raise ValueError if a size is not valid."""
        check_sizes(self.sizes)

    def decide(self, image: Image, /) -> str | None:
        """Compare width and height exactly."""
        return self.reason if f"{image.width}x{image.height}" in self.sizes else None
