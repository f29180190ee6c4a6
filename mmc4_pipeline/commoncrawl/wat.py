"""Reads image links from WAT files: Common Crawl's metadata records, one JSON object for each WARC record."""

import re
from collections.abc import Iterator
from typing import Any

import orjson
from fastwarc import ArchiveIterator, WarcRecordType

from mmc4_pipeline import storage
from mmc4_pipeline.commoncrawl.records import PageContent, not_found, rejected, target
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.pages.reader import PageReader
from mmc4_pipeline.pages.wat_links import links_of_wat
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason


def wat_filename(warc_filename: str) -> str:
    """Give the WAT file that belongs to a WARC file: same folder and name but for two parts."""
    return re.sub(r"/warc/([^/]+)\.warc\.gz$", r"/wat/\1.warc.wat.gz", warc_filename)


def pages_by_wat(
    cc_root: str, warc_filename: str, locations: list[Location], reader: PageReader
) -> Iterator[PageContent | RejectedDocument]:
    """Stream the WAT file of a WARC file and read the wanted records; what it lacks is dropped with a reason.

    Raises UserError where the recipe asks for what no WAT record has.
    """
    _refuse_what_wat_lacks(reader)
    wanted = {(str(location.offset), location.url): location for location in locations}
    path = storage.join(cc_root, wat_filename(warc_filename))
    why = "the WAT file holds no record for that URL at that offset"
    try:
        for url, record in _wanted_records(path, {location.url for location in locations}):
            location = wanted.pop((str(_below(record, "Container", "Offset")), url), None)
            if location is not None:
                yield _page(location, record)
    except (UserError, OSError, ValueError, EOFError) as error:
        why = f"the WAT file could not be read to its end: {error}"
    yield from not_found(wanted.values(), why)


def _refuse_what_wat_lacks(reader: PageReader) -> None:
    if set(reader.links.attributes) != {"src"} or reader.links.main_content:
        message = (
            "--page_source wat: WAT files hold the src of images and no more, but the recipe asks for other "
            "links.attributes or links.main_content; take --page_source warc or warc_scan"
        )
        raise UserError(message)


def _wanted_records(path: str, urls: set[str]) -> Iterator[tuple[str, Any]]:
    """Yield URL and JSON of the records whose target is among the URLs; a record with broken JSON is passed over."""
    with storage.open_read(path) as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.metadata, parse_http=False):
            url = target(record.headers.get("WARC-Target-URI"))
            if url in urls:
                try:
                    parsed = orjson.loads(record.reader.read())
                except orjson.JSONDecodeError:
                    continue  # its location stays wanted, and so is reported
                yield url, parsed


def _below(value: Any, *keys: str) -> Any:  # noqa: ANN401 - JSON is anything
    """Give what nested JSON objects hold under the keys; None where they don't."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _page(location: Location, record: Any) -> PageContent | RejectedDocument:  # noqa: ANN401
    html = _below(record, "Envelope", "Payload-Metadata", "HTTP-Response-Metadata", "HTML-Metadata")
    if not isinstance(html, dict):
        return rejected(location, Reason.NOT_HTML, "the WAT record has no HTML metadata")
    return PageContent(location, links_of_wat(html, location.url))
