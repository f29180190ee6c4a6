"""What the three page sources have in common: they give, for each wanted location, a page's content or a drop."""

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.page import ImageLink
from schemas.reasons import Drop, Reason


@dataclass(frozen=True, slots=True)
class PageContent:
    """A location whose page was read: the image links found there, and its text where the recipe takes it from there.

    `text` has a line for each paragraph, and is None where C4's own text is used.
    """

    location: Location
    links: list[ImageLink]
    text: str | None = None


def target(uri: str | None) -> str:
    """Give the URL of a record's WARC-Target-URI, which some programs write in angle brackets (wget for one)."""
    return (uri or "").strip("<>")


def rejected(location: Location, drop: Reason | Drop, detail: str) -> RejectedDocument:
    """Return the record of a location whose page could not be used: why, and where it was looked for."""
    source = f"{location.warc_filename}@{location.offset}"
    if isinstance(drop, Reason):
        drop = Drop(drop.value)
    return RejectedDocument(location.key, location.url, source, drop.reason, detail, drop.filter)


def not_found(locations: Iterable[Location], why: str) -> list[RejectedDocument]:
    """Say of locations that a file as a whole did not give them."""
    return [rejected(location, Reason.PAGE_UNREADABLE, why) for location in locations]
