"""Joins documents with captures: which WARC record holds the page that a C4 document was made from."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mmc4_pipeline.keys import site_of
from schemas.capture import Capture, Location
from schemas.document import DocumentReference, RejectedDocument
from schemas.reasons import Reason


@dataclass(slots=True)
class Located:
    """What became of a set of documents."""

    locations: list[Location] = field(default_factory=list)
    rejects: list[RejectedDocument] = field(default_factory=list)


def locate(documents: Iterable[DocumentReference], captures: Iterable[Capture]) -> Located:
    """Give each document the capture of its URL at its fetch time (C4's timestamp is the crawl's, to the second)."""
    by_url: dict[str, list[Capture]] = {}
    for capture in captures:
        by_url.setdefault(capture.url, []).append(capture)
    result = Located()
    seen: set[str] = set()
    for document in sorted(documents, key=lambda document: (document.key, document.source)):
        found = by_url.get(document.url, [])
        exact = [capture for capture in found if capture.fetch_time.replace(microsecond=0) == document.timestamp]
        if document.key in seen:
            result.rejects.append(_reject(document, Reason.DUPLICATE_DOCUMENT, "same URL and time as an earlier line"))
        elif not found:
            result.rejects.append(_reject(document, Reason.NOT_LOCATED, "the URL is not in the index"))
        elif not exact:
            times = ", ".join(sorted(f"{capture.fetch_time:%Y-%m-%dT%H:%M:%SZ}" for capture in found))
            result.rejects.append(_reject(document, Reason.NOT_LOCATED, f"captured at other times only: {times}"))
        else:
            capture = min(exact, key=lambda capture: (capture.warc_filename, capture.offset))
            result.locations.append(_location(document, capture, several=len(found) > 1))
        seen.add(document.key)
    return result


def _location(document: DocumentReference, capture: Capture, *, several: bool) -> Location:
    return Location(
        key=document.key,
        url=document.url,
        timestamp=document.timestamp,
        site=site_of(document.url),
        source=document.source,
        fetch_time=capture.fetch_time,
        warc_filename=capture.warc_filename,
        offset=capture.offset,
        length=capture.length,
        could_have_url_duplicate=several,
    )


def _reject(document: DocumentReference, reason: Reason, detail: str) -> RejectedDocument:
    return RejectedDocument(document.key, document.url, document.source, reason.value, detail)
