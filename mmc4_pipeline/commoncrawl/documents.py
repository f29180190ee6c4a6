"""WARC files as the input: every HTML page that they hold is a document."""

from collections.abc import Callable, Iterator
from enum import StrEnum

from mmc4_pipeline import storage
from mmc4_pipeline.commoncrawl.records import PageContent, rejected
from mmc4_pipeline.commoncrawl.responses import BrokenWarcError, Response, responses
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.keys import document_key, site_of
from mmc4_pipeline.pages.reader import PageReader
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason
from schemas.statistics import Counts

_OK = 200


class NoDocument(StrEnum):
    """Why a response record is no document."""

    STATUS = "not_ok"  # any HTTP status but 200
    TYPE = "not_html"


def warc_files(patterns: list[str]) -> list[str]:
    """Give the WARC files that the patterns name, sorted; raises UserError for a pattern that names none."""
    found: set[str] = set()
    for pattern in patterns:
        files = storage.matches(pattern)
        if not files:
            message = f"--warcs {pattern}: no such file; give a file or a glob pattern in quotes"
            raise UserError(message)
        found.update(files)
    return sorted(found)


def documents_of_warc(
    path: str, reader: PageReader, records: Counts, wanted: Callable[[str], bool]
) -> Iterator[PageContent | RejectedDocument]:
    """Stream a WARC file and read its HTML pages, those of wanted URLs only; each is a document of its own.

    `records` counts the response records: `kept` are documents, wanted or not; the others are dropped for NoDocument.
    Where the file is corrupt, that place is a rejected document without URL, and what follows it is not read.
    """
    try:
        for response in responses(path):
            records.seen += 1
            if response.status != _OK:
                records.dropped[NoDocument.STATUS.value] += 1
            elif "html" not in response.kind.lower():
                records.dropped[NoDocument.TYPE.value] += 1
            else:
                records.kept += 1
                if wanted(response.url):
                    yield _document(path, response, reader)
    except BrokenWarcError as error:
        records.seen += 1
        records.kept += 1
        if wanted(""):
            detail = f"the WARC file could not be read beyond the record at this offset: {error}"
            source = f"{path}@{error.offset}"
            yield RejectedDocument("", "", source, Reason.PAGE_UNREADABLE.value, detail)


def _document(path: str, response: Response, reader: PageReader) -> PageContent | RejectedDocument:
    source = f"{path}@{response.offset}"
    if response.time is None:
        detail = "the record has no WARC-Date"
        return RejectedDocument("", response.url, source, Reason.PAGE_UNREADABLE.value, detail)
    time = response.time.replace(microsecond=0)
    location = Location(
        key=document_key(response.url, time),
        url=response.url,
        timestamp=time,
        site=site_of(response.url),
        source=source,
        fetch_time=time,
        warc_filename=path,
        offset=response.offset,
        length=response.length,
        could_have_url_duplicate=False,
    )
    if response.problem:
        return rejected(location, Reason.PAGE_UNREADABLE, response.problem)
    return reader.read(location, response.kind, response.body)
