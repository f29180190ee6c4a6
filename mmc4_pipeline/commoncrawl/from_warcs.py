"""Read WARC files as the input: every HTML page in them is a document."""

from collections.abc import Iterator
from enum import StrEnum
from http import HTTPStatus

from mmc4_pipeline.commoncrawl.archive import records as all_records
from mmc4_pipeline.commoncrawl.http_head import HttpHead
from mmc4_pipeline.commoncrawl.warc_record import LostRecord, Record
from mmc4_pipeline.errors import PermanentReadError, UserError
from mmc4_pipeline.naming import document_key, site_of
from mmc4_pipeline.pages.content import PageContent, rejected
from mmc4_pipeline.pages.guard import guarded
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.storage import Inputs
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason
from schemas.statistics import Counts

_ARC = "ARC files are not read; convert it with `warcio recompress {path} NEW.warc.gz`, and give NEW.warc.gz"
_NOT_WARC = {
    ".arc": _ARC,
    ".arc.gz": _ARC,
    ".wacz": "WACZ files are not read; unpack it with `unzip {path}`, and give the WARC files in its folder archive/",
}


class SkipReason(StrEnum):
    """Why a response record is not a document."""

    STATUS = "not_ok"  # any HTTP status except 200
    TYPE = "not_html"


def warc_files(inputs: Inputs, patterns: list[str]) -> list[str]:
    """Return the WARC files that match the patterns, sorted.

    Raises UserError for a pattern without a match, and for a file that is not a WARC file by its name.
    """
    found = inputs.matches_of("--warcs", patterns)
    for path in found:
        for ending, remedy in _NOT_WARC.items():
            if path.lower().endswith(ending):
                raise UserError(f"--warcs {path}: {remedy.format(path=path)}")
    return found


def documents_of_warc(
    inputs: Inputs, path: str, reader: PageReader, records: Counts
) -> Iterator[PageContent | RejectedDocument]:
    """Stream a WARC file and read its HTML pages; each is a document.

    `records` counts the file's response records and damaged parts: those kept are documents, the others are dropped for
    a SkipReason. A damaged part is a rejected document without a URL, and so is the rest of a file that cannot be read
    to its end.
    """
    end = 0
    try:
        with inputs.open_stream(path) as stream:
            for record in all_records(stream):
                end = record.offset + record.length
                if isinstance(record, LostRecord):
                    yield _lost(path, record.offset, record.why, records)
                elif record.type == "response":
                    yield from _response(path, record, reader, records)
    except PermanentReadError as error:
        yield _lost(path, end, f"the WARC file could not be read to its end: {error}", records)


def _lost(path: str, offset: int, why: str, records: Counts) -> RejectedDocument:
    records.seen += 1
    records.kept += 1
    return RejectedDocument("", "", f"{path}@{offset}", Reason.PAGE_UNREADABLE.value, why)


def _response(
    path: str, record: Record, reader: PageReader, records: Counts
) -> Iterator[PageContent | RejectedDocument]:
    records.seen += 1
    if record.http_status != HTTPStatus.OK:
        records.dropped[SkipReason.STATUS.value] += 1
        return
    try:
        head = record.http_head()
    except ValueError as error:
        records.kept += 1
        yield _unreadable(path, record, f"corrupt record: {error}")
        return
    kind = head.content_type or record.payload_type
    if "html" not in kind.lower():
        records.dropped[SkipReason.TYPE.value] += 1
        return
    records.kept += 1
    yield _document(path, record, reader, head._replace(content_type=kind))


def _unreadable(path: str, record: Record, why: str) -> RejectedDocument:
    return RejectedDocument("", record.url, f"{path}@{record.offset}", Reason.PAGE_UNREADABLE.value, why)


def _document(path: str, record: Record, reader: PageReader, head: HttpHead) -> PageContent | RejectedDocument:
    date = record.date
    if date is None:
        return _unreadable(path, record, "the record has no WARC-Date")
    time = date.replace(microsecond=0)
    location = Location(
        key=document_key(record.url, time),
        url=record.url,
        timestamp=time,
        site=site_of(record.url),
        source=f"{path}@{record.offset}",
        fetch_time=time,
        warc_filename=path,
        offset=record.offset,
        length=record.length,
        could_have_url_duplicate=False,
    )
    return guarded(location, _page, record, location, reader, head)


def _page(record: Record, location: Location, reader: PageReader, head: HttpHead) -> PageContent | RejectedDocument:
    try:
        body = record.http_body(head)
    except ValueError as error:
        return rejected(location, Reason.PAGE_UNREADABLE, f"corrupt record: {error}")
    return reader.read(location, head.content_type, body, head.declarations)
