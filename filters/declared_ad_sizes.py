"""Drops image links that the page displays in exactly the size of an advertisement."""

from dataclasses import dataclass

from filters.ad_sizes import STANDARD, check_sizes
from filters.base import LinkFilter, Stricter
from schemas.page import ImageLink
from schemas.reasons import Reason


@dataclass(frozen=True)
class DeclaredAdSizes(LinkFilter):
    """Not in MMC4: like `ad_sizes`, but by the width and height that the page declares, so the image is not fetched.

    The size is equally weak evidence. A link is kept if the page does not declare both sides.
    """

    sizes: tuple[str, ...] = STANDARD

    reason = Reason.AD
    stricter = {"sizes": Stricter.SUPERSET}

    def __post_init__(self) -> None:
        """Raise ValueError if a size is not valid."""
        check_sizes(self.sizes)

    def decide(self, link: ImageLink, page_url: str = "", /) -> str | None:
        """Compare width and height exactly."""
        return self.reason if f"{link.declared_width}x{link.declared_height}" in self.sizes else None
