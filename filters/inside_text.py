"""Drops image links outside the page's text: before its first sentence or after its last one."""

from dataclasses import dataclass

from filters.base import LinkFilter
from schemas.page import ImageLink
from schemas.reasons import Reason


@dataclass(frozen=True)
class InsideText(LinkFilter):
    """Not in MMC4: keeps the images between the first and the last of the document's sentences on its page.

    It is a rule for the main content that costs nothing. It also drops an image directly before the first sentence.
    """

    reason = Reason.OUTSIDE_TEXT
    needs_places = True

    def decide(self, link: ImageLink, page_url: str = "", /) -> str | None:
        """Use the place on the page; if the page has none of the sentences, every image is kept."""
        return self.reason if link.inside_text is False else None
