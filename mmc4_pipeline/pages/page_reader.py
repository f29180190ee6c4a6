"""Extract what the recipe needs from the bytes of a crawled page."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmc4_pipeline.pages.content import PageContent, rejected
from mmc4_pipeline.pages.declarations import declarations_of_html
from mmc4_pipeline.pages.html import decode_html
from mmc4_pipeline.pages.html_links import links_and_text
from mmc4_pipeline.pages.main_images import main_images
from mmc4_pipeline.pages.main_text import UnreadablePageError, main_text
from mmc4_pipeline.recipe import LinkSettings
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason


@dataclass(frozen=True, slots=True)
class PageReader:
    """Reads pages, with the recipe's settings for that; what they declare only if one of its filters needs it."""

    links: LinkSettings
    text_source: str = "c4"
    declarations: bool = False

    def read(
        self, location: Location, content_type: str, body: bytes, declarations: Sequence[str] = ()
    ) -> PageContent | RejectedDocument:
        """Read a page's body; a page that its server declares to be neither HTML nor text is dropped.

        `declarations` are those of its HTTP header.
        """
        if content_type and not any(kind in content_type.lower() for kind in ("html", "text/plain")):
            return rejected(location, Reason.NOT_HTML, f"Content-Type {content_type}")
        html = decode_html(body, content_type)
        try:
            text = main_text(html, location.url) if self.text_source == "page" else None
        except UnreadablePageError as error:
            return rejected(location, Reason.NO_TEXT, str(error))
        images = main_images(html) if self.links.main_content else None
        found = links_and_text(html, location.url, self.links, images)
        declared = [*declarations, *declarations_of_html(body, html)] if self.declarations else []
        return PageContent(location, found.links, text, declared, found.around)
