"""Join documents with captures: find the WARC record of the page from which a C4 document was made."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mmc4_pipeline.naming import site_of
from schemas.capture import Capture, Location
from schemas.document import DocumentReference, RejectedDocument
from schemas.reasons import Reason

_TIMES_LISTED = 5  # of captures at other times, in the detail of a rejected document
_SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class Located:
    """The outcome for a set of documents."""

    locations: list[Location] = field(default_factory=list)
    rejects: list[RejectedDocument] = field(default_factory=list)


def locate(documents: Iterable[DocumentReference], captures: Iterable[Capture], max_seconds_apart: int = 0) -> Located:
    """Assign each document the capture of its URL at its fetch time (C4's timestamp is the crawl's, to the second).

    A document without that capture gets the nearest one within `max_seconds_apart`. If its crawl or WARC file is known,
    only captures there count, and in the WARC file those of any time. A capture is assigned to at most
    one document, exact matches first: two documents never show the same page. URLs must be identical.
    """
    by_url: dict[str, set[Capture]] = {}  # sets: an index may list a record twice
    for capture in captures:
        by_url.setdefault(capture.url, set()).add(capture)
    result = Located()
    distinct: dict[str, dict[str, DocumentReference]] = {}
    # By length first, so that of two lines of a file the earlier one comes first.
    for document in sorted(documents, key=lambda item: (item.key, len(item.source), item.source)):
        if distinct.setdefault(document.url, {}).setdefault(document.key, document) is not document:
            result.rejects.append(_reject(document, Reason.DUPLICATE_DOCUMENT, "same URL and time as an earlier line"))
    for url, of_url in distinct.items():
        found = by_url.get(url, set())
        assigned = _assign(list(of_url.values()), found, max_seconds_apart)
        for key, document in of_url.items():
            if key in assigned:
                several = sum(_is_in_crawl(document, capture) for capture in found) > 1
                result.locations.append(_location(document, assigned[key], several=several))
            else:
                detail = _why_not(document, found, max_seconds_apart)
                result.rejects.append(_reject(document, Reason.NOT_LOCATED, detail))
    result.locations.sort(key=lambda item: item.key)
    result.rejects.sort(key=lambda item: (item.key, len(item.source), item.source))
    return result


def _assign(documents: list[DocumentReference], captures: set[Capture], limit: int) -> dict[str, Capture]:
    """Return the capture assigned to each document's key: nearest pairs first, on a tie the earlier capture."""
    pairs = [
        (apart, document.key, capture)
        for document in documents
        for capture in captures
        if _is_in(document, capture) and ((apart := _seconds_apart(document, capture)) <= limit or document.warc)
    ]
    pairs.sort(key=lambda pair: (pair[0], pair[2].fetch_time, pair[2].warc_filename, pair[2].offset, pair[1]))
    assigned: dict[str, Capture] = {}
    remaining = set(captures)
    for _, key, capture in pairs:
        if key not in assigned and capture in remaining:
            assigned[key] = capture
            remaining.remove(capture)
    return assigned


def _is_in(document: DocumentReference, capture: Capture) -> bool:
    """Return whether a capture is in the document's WARC file, or in its crawl, as far as they are known."""
    return capture.warc_filename == document.warc if document.warc else _is_in_crawl(document, capture)


def _is_in_crawl(document: DocumentReference, capture: Capture) -> bool:
    return not document.crawl or f"/{document.crawl}/" in capture.warc_filename


def _seconds_apart(document: DocumentReference, capture: Capture) -> int:
    """Return the time between the two in whole seconds; the index may have fractions, C4 does not."""
    return abs(capture.fetch_time.replace(microsecond=0) - document.timestamp.replace(microsecond=0)) // _SECOND


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
        seconds_apart=_seconds_apart(document, capture),
    )


def _why_not(document: DocumentReference, captures: set[Capture], limit: int) -> str:
    found = {capture for capture in captures if _is_in(document, capture)}
    if captures and not found:
        return f"the URL is in the index, but not in {document.warc or document.crawl}"
    if not found:
        return "the URL is not in the index"
    near = sorted((_seconds_apart(document, capture), capture.fetch_time) for capture in found)
    times = ", ".join(_as_text(moment) for _, moment in near[:_TIMES_LISTED])
    more = f" and {len(near) - _TIMES_LISTED} more" if len(near) > _TIMES_LISTED else ""
    if near[0][0] <= limit:
        return f"the captures near its time were assigned to other documents of the URL: {times}{more}"
    return f"captured at other times only, the nearest {near[0][0]} seconds apart: {times}{more}"


def _as_text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _reject(document: DocumentReference, reason: Reason, detail: str) -> RejectedDocument:
    return RejectedDocument(document.key, document.url, document.source, reason.value, detail)
