"""Pages for tests."""

from collections.abc import Iterable
from datetime import UTC, datetime

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
