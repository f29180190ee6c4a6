"""Drops image links outside of the page's main content: menus, sidebars, footers, advertisements."""

from dataclasses import dataclass

from filters.base import LinkFilter
from schemas.page import ImageLink
from schemas.reasons import Reason


@dataclass(frozen=True)
class MainContent(LinkFilter):
    """Not in MMC4: keeps the images that trafilatura holds to be part of the main content."""

    reason = Reason.NOT_MAIN_CONTENT
    needs = "main_content"

    def decide(self, link: ImageLink, page_url: str = "") -> str | None:
        """Judge what was measured; on a page that trafilatura could not be asked of, every image is kept."""
        return self.reason if link.in_main_content is False else None
