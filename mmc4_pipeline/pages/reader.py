"""Reads what the recipe asks for from the bytes of a crawled page."""

from dataclasses import dataclass

from mmc4_pipeline.commoncrawl.records import PageContent, rejected
from mmc4_pipeline.pages.html import decode_html
from mmc4_pipeline.pages.html_links import links_of_html
from mmc4_pipeline.pages.main_content import main_content
from mmc4_pipeline.recipe import LinkSettings
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason


@dataclass(frozen=True, slots=True)
class PageReader:
    """The recipe's part that says what is taken from a page."""

    links: LinkSettings

    def read(self, location: Location, content_type: str, body: bytes) -> PageContent | RejectedDocument:
        """Read a page's body; what the server calls neither HTML nor text is dropped."""
        if content_type and not any(kind in content_type.lower() for kind in ("html", "text/plain")):
            return rejected(location, Reason.NOT_HTML, f"Content-Type {content_type}")
        html = decode_html(body, content_type)
        main = main_content(html) if self.links.main_content else None
        return PageContent(location, links_of_html(html, location.url, self.links, main.images if main else None))
