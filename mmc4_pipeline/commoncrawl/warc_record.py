"""WARC records, read whole: fields of their headers, and of responses the HTTP message."""

import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from fastwarc import ArchiveIterator

MAX_RECORD_BYTES = 64 << 20  # inflated; Common Crawl cuts pages at 1 MiB
_LINE_END = b"\r\n"
HEADER_END = _LINE_END * 2
_FIELD = rb"\r\n(?i:%s):[ \t]*([^\r\n]*)"
TYPE, LENGTH, _URL = b"WARC-Type", b"Content-Length", b"WARC-Target-URI"
_DATE, _PAYLOAD_TYPE = b"WARC-Date", b"WARC-Identified-Payload-Type"
_NAMES = (TYPE, LENGTH, _URL, _DATE, _PAYLOAD_TYPE)
_USUAL = {name: b"\r\n%b: " % name for name in _NAMES}  # nearly all write it so, and it is found in half the time
_IN_ANY_CASE = {name: re.compile(_FIELD % name) for name in _NAMES}
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})\b")
_CONTENT_TYPE = re.compile(_FIELD % b"content-type")
_CODING = re.compile(_FIELD % b"(?:content|transfer)-encoding")


@dataclass(slots=True)
class Record:
    """One whole WARC record, uncompressed.

    `offset` and `length` are the bytes of its gzip member in the file, as the columnar index gives them. `data` is the
    record from its first byte; its block (for a response, the HTTP message) starts at `block_start` and has
    `block_length` bytes.
    """

    offset: int
    length: int
    data: bytes
    block_start: int
    block_length: int

    @property
    def type(self) -> str:
        """Its WARC-Type, "response" for one."""
        return self._field(TYPE).lower()

    @property
    def url(self) -> str:
        """Its WARC-Target-URI, which some programs write in angle brackets (wget for one)."""
        return self._field(_URL).strip("<>")

    @property
    def date(self) -> datetime | None:
        """Its WARC-Date in UTC; None where that is missing or no time."""
        try:
            date = datetime.fromisoformat(self._field(_DATE))
            return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        except (ValueError, OverflowError):
            return None

    @property
    def payload_type(self) -> str:
        """What the crawler found a response to be (WARC-Identified-Payload-Type), empty where it does not say."""
        return self._field(_PAYLOAD_TYPE)

    @property
    def http_status(self) -> int | None:
        """The status of a response over HTTP; None for what is none."""
        found = _STATUS.match(self.data, self.block_start)
        return int(found[1]) if found else None

    @property
    def block(self) -> bytes:
        """What the header is about."""
        return self.data[self.block_start : self.block_start + self.block_length]

    def http_response(self) -> tuple[str, bytes]:
        """Give Content-Type (empty where there is none) and body of a response, its codings undone.

        The body is cut to MAX_RECORD_BYTES. Raises ValueError where a coding is broken.
        """
        end = self.data.find(HEADER_END, self.block_start)
        head = self.data[self.block_start : end]
        stop = self.block_start + self.block_length
        if not 0 <= end < stop or not head.startswith(b"HTTP/") or _CODING.search(head):
            return self._decoded_response()
        # Common Crawl has undone the codings already, so this is how nearly all pages are read.
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
    """A part of the file that could not be read as records, and why. `offset` and `length` are bytes of the file."""

    offset: int
    length: int
    why: str


def field_value(data: bytes, name: bytes, start: int, end: int) -> bytes:
    """Give the value of a field of the header within these bounds; empty where it is not there."""
    field = _USUAL[name]
    at = data.find(field, start, end)
    if at < 0:
        found = _IN_ANY_CASE[name].search(data, start, end)
        return found[1].strip() if found else b""
    at += len(field)
    stop = data.find(_LINE_END, at, end)
    return data[at : stop if stop >= 0 else end].strip()
