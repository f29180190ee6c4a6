"""Read documents: JSON lines (plain, gzip or zstd) or Parquet, with the fields that `DocumentFields` names.

A document is identified by its file and its line or row, counted from 1.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from mmc4_pipeline.documents.fields import C4_FIELDS, DocumentFields
from mmc4_pipeline.documents.rows import is_parquet, read_rows
from mmc4_pipeline.naming import document_key
from mmc4_pipeline.storage import Inputs
from schemas.document import Document, DocumentReference, RejectedDocument
from schemas.reasons import Reason

_CRAWL = re.compile(r"CC-MAIN-\d{4}(-\d{2,4})?(?!\d)")
_WARC = re.compile(r"crawl-data/.+/warc/.+\.warc\.gz$")


def read_documents(
    inputs: Inputs, path: str, names: DocumentFields = C4_FIELDS, first: int | None = None
) -> Iterator[tuple[str, Document | RejectedDocument]]:
    """Yield each document's "path:line" and the document, or why it is invalid; of the `first` rows only if given.

    Raises UserError if the file is truncated or corrupt; the message has the last line that could be read.
    """
    for number, row in read_rows(inputs, path, names, ("url", "timestamp", "text"), first):
        source = f"{path}:{number}"
        yield source, _document(row, source)


def read_references(
    inputs: Inputs, path: str, names: DocumentFields = C4_FIELDS, first: int | None = None
) -> Iterator[tuple[int, DocumentReference | RejectedDocument]]:
    """Yield each document's line and a reference to it, or why it is invalid; raises the errors of `read_documents`.

    Texts are not read if the format allows that, so that a Parquet row without a text is noticed only later.
    """
    wanted = ("url", "timestamp", "crawl", "warc") + (() if is_parquet(path) else ("text",))
    for number, row in read_rows(inputs, path, names, wanted, first):
        source = f"{path}:{number}"
        crawl, warc = _origin(row)
        found = _document(row, source)
        if isinstance(found, Document):
            yield number, DocumentReference(found.key, found.url, found.timestamp, source, crawl, warc)
        else:
            yield number, found


def _origin(row: dict[str, Any] | str) -> tuple[str, str]:
    """Take crawl and WARC file from a row, and return their names; each is empty if it is not known."""
    if isinstance(row, str):
        return "", ""
    crawl_text, path = (str(row.pop(name, "")) for name in ("crawl", "warc"))
    crawl, warc = _CRAWL.search(crawl_text) or _CRAWL.search(path), _WARC.search(path)
    return crawl[0] if crawl else "", warc[0] if warc else ""


def _document(row: dict[str, Any] | str, source: str) -> Document | RejectedDocument:
    if isinstance(row, str):
        return _rejected("", source, row)
    url, timestamp = row["url"], row["timestamp"]
    for name, value in row.items():
        if not isinstance(value, str) and not (name == "timestamp" and isinstance(value, datetime)):
            return _rejected(url if isinstance(url, str) else "", source, f"field {name!r} is missing or not a string")
    moment = timestamp if isinstance(timestamp, datetime) else _parsed(timestamp)
    if moment is None:
        return _rejected(url, source, f"timestamp {timestamp!r} is not an ISO 8601 time")
    return Document(document_key(url, moment), url, moment, row.get("text", ""))


def _parsed(value: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # OverflowError: in UTC the time is in the year 0 or 10000
        return None


def _rejected(url: str, source: str, detail: str) -> RejectedDocument:
    return RejectedDocument(key="", url=url, source=source, reason=Reason.INVALID_DOCUMENT.value, detail=detail)
