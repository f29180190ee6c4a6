"""WARC records in memory: the fields of their headers, and the HTTP message of a response."""

import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from fastwarc import ArchiveIterator

MAX_RECORD_BYTES = 64 << 20  # inflated; Common Crawl truncates pages at 1 MiB
_LINE_END = b"\r\n"
HEADER_END = _LINE_END * 2
_FIELD = rb"\r\n(?i:%s):[ \t]*([^\r\n]*)"
TYPE, LENGTH, _URL = b"WARC-Type", b"Content-Length", b"WARC-Target-URI"
_DATE, _PAYLOAD_TYPE = b"WARC-Date", b"WARC-Identified-Payload-Type"
_NAMES = (TYPE, LENGTH, _URL, _DATE, _PAYLOAD_TYPE)
_USUAL = {name: b"\r\n%b: " % name for name in _NAMES}  # the usual spelling, found in half the time
_IN_ANY_CASE = {name: re.compile(_FIELD % name) for name in _NAMES}
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})\b")
_CONTENT_TYPE = re.compile(_FIELD % b"content-type")
_CODING = re.compile(_FIELD % b"(?:content|transfer)-encoding")


@dataclass(slots=True)
class Record:
    """One complete WARC record, uncompressed.

    `offset` and `length` are those of its gzip member in the file, as in the columnar index. `data` is the record from
    its first byte on; its block (for a response, the HTTP message) starts at `block_start` and has `block_length`
    bytes.
    """

    offset: int
    length: int
    data: bytes
    block_start: int
    block_length: int

    @property
    def type(self) -> str:
        """Its WARC-Type, such as "response"."""
        return self._field(TYPE).lower()

    @property
    def url(self) -> str:
        """Its WARC-Target-URI, without the angle brackets that some programs (such as wget) write."""
        return self._field(_URL).strip("<>")

    @property
    def date(self) -> datetime | None:
        """Its WARC-Date in UTC; None if that is missing or not a time."""
        try:
            date = datetime.fromisoformat(self._field(_DATE))
            return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        except (ValueError, OverflowError):
            return None

    @property
    def payload_type(self) -> str:
        """The media type that the crawler detected (WARC-Identified-Payload-Type); empty if it is missing."""
        return self._field(_PAYLOAD_TYPE)

    @property
    def http_status(self) -> int | None:
        """The HTTP status of a response; None if the record is not an HTTP response."""
        found = _STATUS.match(self.data, self.block_start)
        return int(found[1]) if found else None

    @property
    def block(self) -> bytes:
        """The record's content, without the WARC header."""
        return self.data[self.block_start : self.block_start + self.block_length]

    def http_response(self) -> tuple[str, bytes]:
        """Return Content-Type (empty if missing) and decoded body of a response.

        The body is limited to MAX_RECORD_BYTES. Raises ValueError if its encoding is broken.
        """
        end = self.data.find(HEADER_END, self.block_start)
        head = self.data[self.block_start : end]
        stop = self.block_start + self.block_length
        if not 0 <= end < stop or not head.startswith(b"HTTP/") or _CODING.search(head):
            return self._decoded_response()
        # Common Crawl stores bodies already decoded, so that nearly all pages are read here.
        found = _CONTENT_TYPE.search(head)
        return found[1].strip().decode("latin-1") if found else "", self.data[end + len(HEADER_END) : stop]

    def _decoded_response(self) -> tuple[str, bytes]:
        try:
            record = next(ArchiveIterator(io.BytesIO(self.data), auto_decode="all"))
            headers = record.http_headers
            return (headers.get("Content-Type") if headers else None) or "", record.reader.read(MAX_RECORD_BYTES)
        except (StopIteration, OSError, EOFError) as error:
            raise ValueError(str(error)) from error

    def _field(self, name: bytes) -> str:
        return field_value(self.data, name, 0, self.block_start).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class LostRecord:
    """A part of the file that could not be read as records, and why. `offset` and `length` are bytes in the file."""

    offset: int
    length: int
    why: str


def field_value(data: bytes, name: bytes, start: int, end: int) -> bytes:
    """Return the value of a header field within these bounds; empty if it is missing."""
    field = _USUAL[name]
    at = data.find(field, start, end)
    if at < 0:
        found = _IN_ANY_CASE[name].search(data, start, end)
        return found[1].strip() if found else b""
    at += len(field)
    stop = data.find(_LINE_END, at, end)
    return data[at : stop if stop >= 0 else end].strip()
