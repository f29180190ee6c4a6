"""Read pages by streaming whole WARC files."""

from bisect import bisect_right
from collections.abc import Iterator

from mmc4_pipeline.commoncrawl.archive import records
from mmc4_pipeline.commoncrawl.warc_record import LostRecord, Record
from mmc4_pipeline.errors import PermanentReadError
from mmc4_pipeline.pages.content import PageContent, not_found, rejected
from mmc4_pipeline.pages.guard import guarded
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.storage import Inputs, join
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason

Outcome = PageContent | RejectedDocument


def pages_by_scan(
    inputs: Inputs, cc_root: str, warc_filename: str, locations: list[Location], reader: PageReader
) -> Iterator[Outcome]:
    """Stream a whole WARC file and read the wanted records; a location without a record is dropped with a reason."""
    wanted = {(location.offset, location.url): location for location in locations}
    offsets = {location.offset for location in locations}
    lost: list[LostRecord] = []
    why = "the WARC file has no response record of that URL at that offset"
    end = 0
    try:
        with inputs.open_stream(join(cc_root, warc_filename)) as stream:
            for record in records(stream):
                end = record.offset + record.length
                if isinstance(record, LostRecord):
                    lost.append(record)
                elif record.offset in offsets and record.type == "response":
                    location = wanted.pop((record.offset, record.url), None)
                    if location is not None:
                        yield guarded(location, _page_of_record, record, location, reader)
    except PermanentReadError as error:
        yield from not_found(wanted.values(), f"the WARC file could not be read to its end: {error}")
        return
    for location in wanted.values():
        at = bisect_right(lost, location.offset, key=lambda part: part.offset) - 1
        if at >= 0 and location.offset < lost[at].offset + lost[at].length:
            yield rejected(location, Reason.PAGE_UNREADABLE, f"the record is corrupt or truncated: {lost[at].why}")
        elif location.offset >= end:
            yield rejected(location, Reason.PAGE_UNREADABLE, "the WARC file ends before the record does")
        else:
            yield rejected(location, Reason.PAGE_UNREADABLE, why)


def _page_of_record(record: Record, location: Location, reader: PageReader) -> Outcome:
    try:
        head = record.http_head()
        body = record.http_body(head)
    except ValueError as error:
        return rejected(location, Reason.PAGE_UNREADABLE, f"the record is corrupt or truncated: {error}")
    return reader.read(location, head.content_type, body, head.declarations)
