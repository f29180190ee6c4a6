"""Drops image links outside the page's main content: in menus, sidebars, footers and advertisements."""

from dataclasses import dataclass

from filters.base import LinkFilter
from schemas.page import ImageLink
from schemas.reasons import Reason


@dataclass(frozen=True)
class MainContent(LinkFilter):
    """Not in MMC4: keeps the images that trafilatura finds in the page's main content."""

    reason = Reason.NOT_MAIN_CONTENT
    needs = "main_content"

    def decide(self, link: ImageLink, page_url: str = "", /) -> str | None:
        """Use trafilatura's result; if it could not process the page, every image is kept."""
        return self.reason if link.in_main_content is False else None
