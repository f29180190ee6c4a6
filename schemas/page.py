"""Pages, which the pages stage writes: a document's sentences and the image links of its page."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import msgspec

from schemas.arrow import Float32

HASHED = "sha256:"  # a takedown replaces a URL by a hash with this prefix, as in a deny-list


def is_hashed(url: str) -> bool:
    """Return whether a URL was taken down, so that only its hash remains."""
    return url.startswith(HASHED)


def hashed(url: str) -> str:
    """Return the hash that replaces a denied URL, in the form of a deny-list's entry. A hash is returned unchanged."""
    return url if is_hashed(url) else HASHED + hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()


class ImageLink(msgspec.Struct, gc=False):  # not a dataclass: billions are made, and that takes four times as long
    """One image link of a page. `position` counts the links in page order, from 0.

    Declared sizes are in CSS pixels, null if the page does not declare them. `attribute` is the HTML attribute that
    holds the link. `in_main_content` is trafilatura's result, null if the recipe does not need it. `leads_to` is the
    URL of the `a` around the image if that is on another site than the page, else null; it is always null for pages
    from WAT files. `reason` is why a link filter dropped the link, and `filter` is that filter's key in the recipe;
    both are null for a link that will be fetched.

    `after_sentence` is the number of the last sentence that ends before the image, -1 before the first sentence, and
    null if the place is not known. `inside_text` is whether the image is between the document's sentences, and
    `caption` the text of the `figcaption` in its figure. `published_sentence` and `published_similarity` are the
    sentence to which the publisher of the document had assigned the image, and their similarity as published.
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
    after_sentence: int | None = None
    inside_text: bool | None = None
    caption: str | None = None
    published_sentence: int | None = None
    published_similarity: Float32 | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A located document: its sentences (from C4) and all image links of its page, dropped ones included.

    `declarations` are what the page declares about the use of its content (schemas/declarations.py).
    """

    key: str
    url: str
    site: str
    timestamp: datetime
    could_have_url_duplicate: bool
    sentences: list[str]
    links: list[ImageLink]
    declarations: list[str] = field(default_factory=list)

    @property
    def words(self) -> int:
        """Return the number of words in the sentences, as separated by spaces."""
        return sum(len(sentence.split()) for sentence in self.sentences)

    @property
    def taken_down(self) -> bool:
        """Return whether a takedown has removed all of it except its links' places: its URL is then a hash."""
        return is_hashed(self.url)


class OutcomeKind(StrEnum):
    """What a PageOutcome contains."""

    CONTENT = "content"  # a read page whose text C4 has
    TEXT = "text"  # the text of a C4 document, as compressed UTF-8
    PAGE = "page"  # a finished page
    REJECT = "reject"  # a document that was dropped
    COUNTS = "counts"  # counts made while reading, not a page


@dataclass(frozen=True, slots=True)
class PageOutcome:
    """The outcome of a page, or its text, as compressed JSON. `source` is that of its document.

    `position` determines its shard: see mmc4_pipeline/pages/site_shards.py.
    """

    position: bytes
    kind: OutcomeKind
    source: str
    data: bytes
