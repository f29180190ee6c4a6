"""Reads pages from parts of a WARC file: the wanted records by offset, with neighbours in one request."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from mmc4_pipeline.commoncrawl.warc_record import MAX_RECORD_BYTES
from mmc4_pipeline.errors import PermanentReadError
from mmc4_pipeline.pages.content import PageContent, rejected, target
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.storage import Inputs, join
from mmc4_pipeline.storage.http.client import BYTES_OF_A_REQUEST
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason

# Neighbours farther apart than this are asked for one by one: what lies between would take longer than a request.
MAX_GAP = BYTES_OF_A_REQUEST
# More than this is not read at once, for the sake of memory; one record may be larger (MAX_RECORD_BYTES).
MAX_RANGE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes of a WARC file from `start` up to `end`, and the locations whose records lie in them, in file order."""

    start: int
    end: int
    locations: tuple[Location, ...]

    def record(self, data: bytes, location: Location) -> bytes:
        """Cut a location's record out of the range's bytes; shorter where these end before."""
        begin = location.offset - self.start
        return data[begin : begin + location.length]


def plan_ranges(locations: Iterable[Location]) -> list[Range]:
    """Merge the records of one WARC file into the ranges to read, ascending.

    Records of a WARC file lie one after the other, so that no byte is in two ranges. Where a broken index has them
    overlap, they share a range too, unless that would be larger than MAX_RANGE_BYTES.
    """
    ranges: list[Range] = []
    for location in sorted(locations, key=lambda location: (location.offset, location.length, location.url)):
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

    What the file lacks is dropped with a reason. Raises UserError where the storage does not answer after many tries,
    or refuses: that would pass, while a drop is final and would cost a run of weeks thousands of its pages.
    """
    possible = [location for location in locations if _is_possible(location)]
    for location in sorted(locations, key=lambda location: (location.offset, location.length, location.url)):
        if not _is_possible(location):
            why = f"the index gives offset {location.offset} and a length of {location.length} bytes"
            yield rejected(location, Reason.PAGE_UNREADABLE, why)
    ranges = plan_ranges(possible)
    asked = ((part.start, part.end - part.start) for part in ranges)
    answers = inputs.read_ranges(join(cc_root, warc_filename), asked)
    for part, answer in zip(ranges, answers, strict=True):
        for location in part.locations:
            if isinstance(answer, PermanentReadError):
                yield rejected(location, Reason.PAGE_UNREADABLE, str(answer))
            else:
                yield _page(part.record(answer, location), location, reader)


def _is_possible(location: Location) -> bool:
    return location.offset >= 0 and 0 < location.length <= MAX_RECORD_BYTES  # else the index row is broken


def _page(member: bytes, location: Location, reader: PageReader) -> PageContent | RejectedDocument:
    """Read a page from its record's gzip member."""
    if len(member) < location.length:
        return rejected(location, Reason.PAGE_UNREADABLE, "the WARC file ends before the record does")
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
