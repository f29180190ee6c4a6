"""What the three page sources have in common: they give, for each wanted location, a page's links or a drop."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.page import ImageLink
from schemas.reasons import Reason


@dataclass(frozen=True, slots=True)
class PageLinks:
    """A location whose page was read, with the image links found there."""

    location: Location
    links: list[ImageLink]


def target(headers: Mapping[str, str]) -> str:
    """Give a record's URL; WARC 1.0 files may have it in angle brackets (WARC 1.1, annex C)."""
    return (headers.get("WARC-Target-URI") or "").strip("<>")


def rejected(location: Location, reason: Reason, detail: str) -> RejectedDocument:
    """Say of a location why its page could not be used, and where it was looked for."""
    source = f"{location.warc_filename}@{location.offset}"
    return RejectedDocument(location.key, location.url, source, reason.value, detail)


def not_found(locations: Iterable[Location], why: str) -> list[RejectedDocument]:
    """Say of locations that a file as a whole did not give them."""
    return [rejected(location, Reason.PAGE_UNREADABLE, why) for location in locations]
