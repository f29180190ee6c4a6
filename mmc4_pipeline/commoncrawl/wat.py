"""Reads image links from WAT files: Common Crawl's metadata records, one JSON object for each WARC record."""

import re
from collections.abc import Iterator
from typing import Any

import orjson
from fastwarc import ArchiveIterator, WarcRecordType

from mmc4_pipeline import storage
from mmc4_pipeline.commoncrawl.records import PageLinks, not_found, rejected
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.pages.links import links_of_wat
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason


def wat_filename(warc_filename: str) -> str:
    """Give the WAT file that belongs to a WARC file: same folder and name but for two parts."""
    return re.sub(r"/warc/([^/]+)\.warc\.gz$", r"/wat/\1.warc.wat.gz", warc_filename)


def pages_by_wat(cc_root: str, warc_filename: str, locations: list[Location]) -> Iterator[PageLinks | RejectedDocument]:
    """Stream the WAT file of a WARC file and read the wanted records; what it lacks is dropped with a reason."""
    wanted = {str(location.offset): location for location in locations}
    path = storage.join(cc_root, wat_filename(warc_filename))
    why = "the WAT file holds no record for that URL at that offset"
    try:
        for envelope in _wanted_records(path, {location.url for location in locations}):
            offset = envelope.get("Container", {}).get("Offset")
            location = wanted.pop(offset, None)
            if location is not None:
                yield _page(location, envelope)
    except (UserError, OSError, ValueError, EOFError) as error:
        why = f"the WAT file could not be read to its end: {error}"
    yield from not_found(wanted.values(), why)


def _wanted_records(path: str, urls: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the JSON of the records whose target is among the URLs; a record with broken JSON is passed over."""
    with storage.open_read(path) as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.metadata, parse_http=False):
            if record.headers.get("WARC-Target-URI") in urls:
                try:
                    parsed = orjson.loads(record.reader.read())
                except orjson.JSONDecodeError:
                    continue  # its location stays wanted, and so is reported
                if isinstance(parsed, dict):
                    yield parsed


def _page(location: Location, envelope: dict[str, Any]) -> PageLinks | RejectedDocument:
    payload = envelope.get("Envelope", {}).get("Payload-Metadata", {})
    html = payload.get("HTTP-Response-Metadata", {}).get("HTML-Metadata")
    if not isinstance(html, dict):
        return rejected(location, Reason.NOT_HTML, "the WAT record has no HTML metadata")
    return PageLinks(location, links_of_wat(html, location.url))
