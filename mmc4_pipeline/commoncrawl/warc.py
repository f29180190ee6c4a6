"""Reads pages from WARC files: single records by offset (warcio), or whole files."""

import io
from bisect import bisect_right
from collections.abc import Iterator

from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from mmc4_pipeline import storage
from mmc4_pipeline.commoncrawl.archive import LostRecord, Record, records
from mmc4_pipeline.commoncrawl.records import PageContent, not_found, rejected, target
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.pages.reader import PageReader
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason

Outcome = PageContent | RejectedDocument
MAX_RECORD_BYTES = 64 << 20  # Common Crawl cuts pages at 1 MiB; a longer range is a broken index row


def pages_by_range(
    cc_root: str, warc_filename: str, locations: list[Location], reader: PageReader
) -> Iterator[Outcome]:
    """Read the records of one WARC file at the locations' offsets, in file order."""
    path = storage.join(cc_root, warc_filename)
    for location in sorted(locations, key=lambda location: location.offset):
        yield _page_at(path, location, reader)


def _page_at(path: str, location: Location, reader: PageReader) -> Outcome:
    if not 0 < location.length <= MAX_RECORD_BYTES or location.offset < 0:
        return rejected(location, Reason.PAGE_UNREADABLE, f"the index gives a length of {location.length} bytes")
    try:
        member = storage.read_range(path, location.offset, location.length)
    except UserError as error:
        return rejected(location, Reason.PAGE_UNREADABLE, str(error))
    if len(member) < location.length:
        return rejected(location, Reason.PAGE_UNREADABLE, "the WARC file ends before the record does")
    return _page_of_member(member, location, reader)


def _page_of_member(member: bytes, location: Location, reader: PageReader) -> Outcome:
    try:
        record = next(iter(ArchiveIterator(io.BytesIO(member), no_record_parse=False)), None)
        if record is None or record.rec_type != "response":
            return rejected(location, Reason.PAGE_UNREADABLE, "no response record at that offset")
        uri = target(record.rec_headers.get_header("WARC-Target-URI"))
        if uri != location.url:
            return rejected(location, Reason.PAGE_UNREADABLE, f"the record at that offset is of {uri}")
        content_type = (record.http_headers.get_header("Content-Type") if record.http_headers else None) or ""
        return reader.read(location, content_type, record.content_stream().read(MAX_RECORD_BYTES))
    except (ArchiveLoadFailed, OSError, ValueError, EOFError) as error:
        return rejected(location, Reason.PAGE_UNREADABLE, f"corrupt record: {error}")


def pages_by_scan(cc_root: str, warc_filename: str, locations: list[Location], reader: PageReader) -> Iterator[Outcome]:
    """Stream a whole WARC file and read the wanted records; what it does not hold is dropped with a reason."""
    wanted = {(location.offset, location.url): location for location in locations}
    offsets = {location.offset for location in locations}
    lost: list[LostRecord] = []
    why = "the WARC file holds no response record of that URL at that offset"
    end = 0
    try:
        with storage.open_read(storage.join(cc_root, warc_filename)) as stream:
            for record in records(stream):
                end = record.offset + record.length
                if isinstance(record, LostRecord):
                    lost.append(record)
                elif record.offset in offsets and record.type == "response":
                    location = wanted.pop((record.offset, record.url), None)
                    if location is not None:
                        yield _page_of_record(record, location, reader)
    except (UserError, OSError) as error:
        yield from not_found(wanted.values(), f"the WARC file could not be read to its end: {error}")
        return
    for location in wanted.values():
        at = bisect_right(lost, location.offset, key=lambda part: part.offset) - 1
        if at >= 0 and location.offset < lost[at].offset + lost[at].length:
            yield rejected(location, Reason.PAGE_UNREADABLE, f"the record is corrupt or cut short: {lost[at].why}")
        elif location.offset >= end:
            yield rejected(location, Reason.PAGE_UNREADABLE, "the WARC file ends before the record does")
        else:
            yield rejected(location, Reason.PAGE_UNREADABLE, why)


def _page_of_record(record: Record, location: Location, reader: PageReader) -> Outcome:
    try:
        content_type, body = record.http_response()
    except ValueError as error:
        return rejected(location, Reason.PAGE_UNREADABLE, f"the record is corrupt or cut short: {error}")
    return reader.read(location, content_type, body)
