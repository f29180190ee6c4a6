"""Pages: a document's sentences and the image links of its page; what the pages stage writes."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec

HASHED = "sha256:"  # what a takedown leaves of a URL begins so, as an entry of a deny-list does


def is_hashed(url: str) -> bool:
    """Tell whether a URL was taken down: then only its hash is there."""
    return url.startswith(HASHED)


class ImageLink(msgspec.Struct, gc=False):  # no dataclass: it is made by the billion, and that takes four times as long
    """One image link of a page. `position` counts the links in page order, from 0.

    Declared sizes are CSS pixels as the page states them, null where it doesn't. `attribute` is the HTML attribute
    that held it. `in_main_content` is trafilatura's view, null where the recipe did not ask for it. `leads_to` is the
    URL of the `a` around the image where that is on another site than the page, else null, as it is for pages from WAT
    files, which don't tell. `reason` says why a link filter dropped it, and `filter` which one (its key in the recipe);
    both are null for a link worth fetching.
    """

    position: int
    url: str
    alt: str
    declared_width: int | None
    declared_height: int | None
    attribute: str = "src"
    in_main_content: bool | None = None
    leads_to: str | None = None
    reason: str | None = None
    filter: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A located document: its sentences (from C4) and all image links of its page, dropped ones included."""

    key: str
    url: str
    site: str
    timestamp: datetime
    could_have_url_duplicate: bool
    sentences: list[str]
    links: list[ImageLink]

    @property
    def taken_down(self) -> bool:
        """Tell whether a takedown has left nothing of it but its links' places: its URL is a hash then."""
        return is_hashed(self.url)


class OutcomeKind(StrEnum):
    """What a PageOutcome holds."""

    CONTENT = "content"  # a read page whose text C4 has
    PAGE = "page"  # a finished page
    REJECT = "reject"  # a document that was dropped
    COUNTS = "counts"  # what was counted on the way, no page


@dataclass(frozen=True, slots=True)
class PageOutcome:
    """What became of a page, for the shard of its site: compressed JSON. `source` is its document's."""

    shard: int
    kind: OutcomeKind
    source: str
    data: bytes
