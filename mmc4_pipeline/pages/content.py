"""The result of all page sources: for each wanted location either the page's content or a rejected document."""

from collections.abc import Iterable

import msgspec

from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.page import ImageLink
from schemas.reasons import Drop, Reason


class PageContent(msgspec.Struct, frozen=True):  # not a dataclass, which takes ten times as long to make
    """A location whose page was read: its image links, and its text if the recipe uses the page's own text.

    `text` has one line per paragraph, and is None if C4's text is used. `declarations` are the page's, as in `Page`.
    `around` is the text around the links as `text_around` returns it, None if the source has no text.
    """

    location: Location
    links: list[ImageLink]
    text: str | None = None
    declarations: list[str] = msgspec.field(default_factory=list)
    around: str | None = None


def rejected(location: Location, drop: Reason | Drop, detail: str) -> RejectedDocument:
    """Return the record of a location whose page could not be used, the reason, and the place of its WARC record."""
    source = f"{location.warc_filename}@{location.offset}"
    if isinstance(drop, Reason):
        drop = Drop(drop.value)
    return RejectedDocument(location.key, location.url, source, drop.reason, detail, drop.filter)


def not_found(locations: Iterable[Location], why: str) -> list[RejectedDocument]:
    """Return the records of locations that were not found in a file, all for the same reason."""
    return [rejected(location, Reason.PAGE_UNREADABLE, why) for location in locations]
