"""Drops image links that the page shows in the exact size of an advertisement."""

from dataclasses import dataclass

from filters.ad_sizes import STANDARD, check_sizes
from filters.base import LinkFilter, Stricter
from schemas.page import ImageLink
from schemas.reasons import Reason


@dataclass(frozen=True)
class DeclaredAdSizes(LinkFilter):
    """Not in MMC4: as `ad_sizes`, by the width and height that the page declares, so that nothing is fetched.

    As weak a sign as that one; a page that declares no size, or only one side, drops nothing.
    """

    sizes: tuple[str, ...] = STANDARD

    reason = Reason.AD
    stricter = {"sizes": Stricter.SUPERSET}

    def __post_init__(self) -> None:
        """Refuse what is no size."""
        check_sizes(self.sizes)

    def decide(self, link: ImageLink, page_url: str = "") -> str | None:
        """Compare width and height, to the pixel."""
        return self.reason if f"{link.declared_width}x{link.declared_height}" in self.sizes else None
