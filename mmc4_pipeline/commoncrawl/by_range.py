"""Read pages from parts of a WARC file: the wanted records by offset, neighbouring ones in one request."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmc4_pipeline.commoncrawl.archive import records
from mmc4_pipeline.commoncrawl.warc_record import MAX_RECORD_BYTES, Record
from mmc4_pipeline.errors import PermanentReadError
from mmc4_pipeline.pages.content import PageContent, rejected
from mmc4_pipeline.pages.guard import guarded
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.storage import Inputs, join
from mmc4_pipeline.storage.http.client import BYTES_OF_A_REQUEST
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason

# Records farther apart than this are requested one by one: reading the bytes between would take longer than a request.
MAX_GAP = BYTES_OF_A_REQUEST
# A range is not merged beyond this size, to limit memory; a single record may be larger (MAX_RECORD_BYTES).
MAX_RANGE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes of a WARC file from `start` up to `end`, and the locations of the records in them, in file order."""

    start: int
    end: int
    locations: tuple[Location, ...]

    def record(self, data: bytes, location: Location) -> bytes:
        """Return a location's record out of the range's bytes; shorter if the bytes end earlier."""
        begin = location.offset - self.start
        return data[begin : begin + location.length]


def plan_ranges(locations: Iterable[Location]) -> list[Range]:
    """Merge the records of one WARC file into the ranges to read, ascending.

    The records of a WARC file follow one another, so that no byte is in two ranges. If a broken index has overlapping
    records, they share a range too, unless that would be larger than MAX_RANGE_BYTES.
    """
    ranges: list[Range] = []
    for location in sorted(locations, key=_in_file_order):
        start, end = location.offset, location.offset + location.length
        last = ranges[-1] if ranges else None
        if last and (end <= last.end or (start - last.end <= MAX_GAP and end - last.start <= MAX_RANGE_BYTES)):
            ranges[-1] = Range(last.start, max(end, last.end), (*last.locations, location))
        else:
            ranges.append(Range(start, end, (location,)))
    return ranges


def pages_by_range(
    inputs: Inputs, cc_root: str, warc_filename: str, locations: list[Location], reader: PageReader
) -> Iterator[PageContent | RejectedDocument]:
    """Read the records of one WARC file at the locations' offsets, in file order.

    A location whose record is missing or damaged is dropped with a reason. Raises UserError if the storage refuses or
    does not respond after many tries: that is temporary, but a drop is final and would cost a run of weeks thousands of
    pages.
    """
    possible = [location for location in locations if _is_possible(location)]
    for location in sorted(locations, key=_in_file_order):
        if not _is_possible(location):
            why = f"the index gives offset {location.offset} and a length of {location.length} bytes"
            yield rejected(location, Reason.PAGE_UNREADABLE, why)
    ranges = plan_ranges(possible)
    to_read = ((part.start, part.end - part.start) for part in ranges)
    found = inputs.read_ranges(join(cc_root, warc_filename), to_read)
    for part, data in zip(ranges, found, strict=True):
        for location in part.locations:
            if isinstance(data, PermanentReadError):
                yield rejected(location, Reason.PAGE_UNREADABLE, str(data))
            else:
                yield guarded(location, _page, part.record(data, location), location, reader)


def _in_file_order(location: Location) -> tuple[int, int, str]:
    return location.offset, location.length, location.url


def _is_possible(location: Location) -> bool:
    return location.offset >= 0 and 0 < location.length <= MAX_RECORD_BYTES  # otherwise the index row is broken


def _page(member: bytes, location: Location, reader: PageReader) -> PageContent | RejectedDocument:
    """Read a page from its record's gzip member."""
    if len(member) < location.length:
        return rejected(location, Reason.PAGE_UNREADABLE, "the WARC file ends before the record does")
    record = next(records(io.BytesIO(member)), None)
    if not isinstance(record, Record):
        why = record.why if record else "it is empty"
        return rejected(location, Reason.PAGE_UNREADABLE, f"corrupt record: {why}")
    if record.type != "response":
        return rejected(location, Reason.PAGE_UNREADABLE, "no response record at that offset")
    if record.url != location.url:
        return rejected(location, Reason.PAGE_UNREADABLE, f"the record at that offset is of {record.url}")
    try:
        head = record.http_head()
        body = record.http_body(head)
    except ValueError as error:
        return rejected(location, Reason.PAGE_UNREADABLE, f"corrupt record: {error}")
    return reader.read(location, head.content_type, body, head.declarations)
