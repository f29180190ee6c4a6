"""Pages for tests, and what is read from them."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from mmc4_pipeline.pages.html_links import links_and_text
from mmc4_pipeline.recipe import LinkSettings
from schemas.page import ImageLink, Page

MOMENT = datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)


def new_page(
    key: str = "k",
    sentences: Iterable[str] = ("One.",),
    links: Iterable[ImageLink] = (),
    *,
    site: str = "a.example",
    url: str | None = None,
    could_have_url_duplicate: bool = False,
) -> Page:
    """Return a page of a site; its URL ends with its key unless another one is given."""
    url = url or f"https://{site}/{key}"
    return Page(key, url, site, MOMENT, could_have_url_duplicate, list(sentences), list(links))


def links_of_html(
    text: str, page_url: str, settings: LinkSettings | None = None, main_images: Collection[int] | None = None
) -> list[ImageLink]:
    """Return the image links of an HTML page."""
    return links_and_text(text, page_url, settings, main_images).links
