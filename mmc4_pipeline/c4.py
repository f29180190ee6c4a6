"""Reads C4 documents: JSON lines with `text`, `timestamp` and `url`, plain or gzip (allenai/c4's format)."""

import gzip
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.keys import document_key
from schemas.document import Document, RejectedDocument
from schemas.reasons import Reason


def document_files(patterns: list[str]) -> list[str]:
    """Give the C4 files that the patterns name, sorted; raises UserError for a pattern that names none."""
    found: list[str] = []
    for pattern in patterns:
        files = storage.matches(pattern)
        if not files:
            message = f"--c4 {pattern}: no such file; give a file or a glob pattern in quotes"
            raise UserError(message)
        found += files
    return sorted(set(found))


def read_documents(path: str) -> Iterator[tuple[str, Document | RejectedDocument]]:
    """Yield each line's "path:line" and its document, or what is wrong with it.

    Raises UserError where the file itself is cut short or no gzip, with the line up to which it could be read.
    """
    line_number = 0
    try:
        with storage.open_stream(path) as raw:
            lines = gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw
            for line_number, line in enumerate(lines, start=1):
                source = f"{path}:{line_number}"
                yield source, _parse(line, source)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        message = f"{path}: cut short or corrupt after line {line_number} ({error}); download it again"
        raise UserError(message) from error


def _parse(line: bytes, source: str) -> Document | RejectedDocument:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _rejected("", source, f"no JSON: {error}")
    if not isinstance(fields, dict):
        return _rejected("", source, "no JSON object")
    url = fields.get("url")
    for name in ("url", "timestamp", "text"):
        if not isinstance(fields.get(name), str):
            return _rejected(url if isinstance(url, str) else "", source, f"field {name!r} is missing or no string")
    timestamp = _timestamp(fields["timestamp"])
    if timestamp is None:
        return _rejected(fields["url"], source, f"timestamp {fields['timestamp']!r} is no ISO 8601 time")
    key = document_key(fields["url"], timestamp)
    return Document(key=key, url=fields["url"], timestamp=timestamp, text=fields["text"])


def _timestamp(value: Any) -> datetime | None:  # noqa: ANN401
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # the second for a moment that UTC has in the year 0 or 10000
        return None


def _rejected(url: str, source: str, detail: str) -> RejectedDocument:
    return RejectedDocument(key="", url=url, source=source, reason=Reason.INVALID_DOCUMENT.value, detail=detail)
