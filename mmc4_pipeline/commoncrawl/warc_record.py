"""WARC records in memory: the fields of their headers, and the HTTP message of a response."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from mmc4_pipeline.commoncrawl.http_head import HttpHead, http_head, http_status
from mmc4_pipeline.commoncrawl.payload import MAX_BODY_BYTES, decoded_body

MAX_RECORD_BYTES = MAX_BODY_BYTES  # inflated; Common Crawl truncates pages at 1 MiB
_LINE_END = b"\r\n"
HEADER_END = _LINE_END * 2
_FIELD = rb"\n(?i:%s)[ \t]*:[ \t]*([^\r\n]*)"
TYPE, LENGTH, _URL = b"WARC-Type", b"Content-Length", b"WARC-Target-URI"
_DATE, _PAYLOAD_TYPE = b"WARC-Date", b"WARC-Identified-Payload-Type"
_DIGITS = re.compile(r"\d{14}")
_NAMES = (TYPE, LENGTH, _URL, _DATE, _PAYLOAD_TYPE)
_USUAL = {name: b"\r\n%b: " % name for name in _NAMES}  # the usual spelling, found in half the time
_IN_ANY_CASE = {name: re.compile(_FIELD % name) for name in _NAMES}


class Record(msgspec.Struct, gc=False):  # not a dataclass: tens of billions are made
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
        """Its WARC-Date in UTC; None if that is missing or not a time. It may be 14 digits, as in ARC files."""
        text = self._field(_DATE)
        try:
            date = datetime.fromisoformat(f"{text[:8]}T{text[8:]}" if _DIGITS.fullmatch(text) else text)
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
        return http_status(self.data, self.block_start)

    @property
    def block(self) -> bytes:
        """The record's content, without the WARC header."""
        return self._part(self.block_start)

    def http_head(self) -> HttpHead:
        """Return what the head of a response declares; raises ValueError if the head has no end."""
        return http_head(self.data, self.block_start, self.block_start + self.block_length)

    def http_body(self, head: HttpHead) -> bytes:
        """Return the decoded body of a response; raises ValueError if it cannot be decoded or is too large."""
        return decoded_body(self._part(head.body_start), head.codings)

    def http_response(self) -> tuple[str, bytes]:
        """Return Content-Type (empty if missing) and decoded body of a response.

        Raises ValueError if the response cannot be read.
        """
        head = self.http_head()
        return head.content_type, self.http_body(head)

    def _part(self, start: int) -> bytes:
        """Return the block from a place in `data` on. The data may be a bytearray, as it was inflated."""
        return bytes(memoryview(self.data)[start : self.block_start + self.block_length])

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
