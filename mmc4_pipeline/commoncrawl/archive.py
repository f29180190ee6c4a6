"""Streams the records of WARC and WAT files; what is damaged loses only itself.

Each gzip member is inflated by itself and its CRC checked, so that its place in the file is known and an error ends
nothing but the member: reading goes on at the next one that starts a WARC record. Nearly all members are small and
inflated at once (libdeflate, the fastest at that), the others piece by piece (igzip). The stream is read once from
front to back, never sought in, and no more of it is held than one record needs.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

import deflate
from fastwarc import ArchiveIterator
from isal import isal_zlib

MAX_RECORD_BYTES = 64 << 20  # inflated; Common Crawl cuts pages at 1 MiB
_READ_BYTES = 128 << 10  # memory of this size is used again; from 1 MiB on the system clears new pages each time
_PIECE_BYTES = 32 << 10  # what is inflated at a time
_GZIP_WINDOW_BITS = 31
_InflateError: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub takes it for an instance
_GZIP_MAGIC = b"\x1f\x8b\x08"
_GZIP_SIZE_BYTES = 4  # RFC 1952's ISIZE
_MIN_MEMBER_BYTES = 18  # header and trailer
_MEMBER_START = re.compile(re.escape(_GZIP_MAGIC))  # found in half of bytes.find's time
_WARC_MAGIC = b"WARC/"
_MAX_HEADER_BYTES = 64 << 10
_LINE_END = b"\r\n"
_HEADER_END = _LINE_END * 2
_RECORD_END = _LINE_END * 2
_VERSION = re.compile(rb"WARC/\d\.\d")
_FIELD = rb"\r\n(?i:%s):[ \t]*([^\r\n]*)"
_TYPE, _URL, _LENGTH = b"WARC-Type", b"WARC-Target-URI", b"Content-Length"
_DATE, _PAYLOAD_TYPE = b"WARC-Date", b"WARC-Identified-Payload-Type"
_NAMES = (_TYPE, _URL, _LENGTH, _DATE, _PAYLOAD_TYPE)
_USUAL = {name: b"\r\n%b: " % name for name in _NAMES}  # nearly all write it so, and it is found in half the time
_IN_ANY_CASE = {name: re.compile(_FIELD % name) for name in _NAMES}
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})\b")
_CONTENT_TYPE = re.compile(_FIELD % b"content-type")
_CODING = re.compile(_FIELD % b"(?:content|transfer)-encoding")
_MAX_DIGITS = 18
_SHOWN = 30  # characters of a broken value
_TOO_LARGE = f"the record is larger than {MAX_RECORD_BYTES >> 20} MiB"
_ENDS_BEFORE = "the file ends before the record does"


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
        return self._field(_TYPE).lower()

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
        end = self.data.find(_HEADER_END, self.block_start)
        head = self.data[self.block_start : end]
        stop = self.block_start + self.block_length
        if not 0 <= end < stop or not head.startswith(b"HTTP/") or _CODING.search(head):
            return self._decoded_response()
        # Common Crawl has undone the codings already, so this is how nearly all pages are read.
        found = _CONTENT_TYPE.search(head)
        return found[1].strip().decode("latin-1") if found else "", self.data[end + len(_HEADER_END) : stop]

    def _decoded_response(self) -> tuple[str, bytes]:
        try:
            record = next(ArchiveIterator(io.BytesIO(self.data), auto_decode="all"))
            headers = record.http_headers
            return (headers.get("Content-Type") if headers else None) or "", record.reader.read(MAX_RECORD_BYTES)
        except (StopIteration, OSError, EOFError) as error:
            raise ValueError(str(error)) from error

    def _field(self, name: bytes) -> str:
        return _value(self.data, name, 0, self.block_start).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class LostRecord:
    """A part of the file that could not be read as records, and why. `offset` and `length` are bytes of the file."""

    offset: int
    length: int
    why: str


class _DamagedError(Exception):
    """What stands at the window's start is no sound record."""


def records(stream: BinaryIO) -> Iterator[Record | LostRecord]:
    """Yield the records of a WARC or WAT file in file order, with the place of each and of each damaged part.

    The file is gzip with a member for each record, as the standard wants it (several records in a member all get the
    member's place), or not compressed at all. The stream need not be seekable; only its `read` is called, and what that
    raises passes through. Every byte of the file is within one yielded place, but for what lies between the records
    of an uncompressed file. Nothing is yielded for an empty file.
    """
    window = _Window(stream)
    compressed = window.peek(0, len(_WARC_MAGIC)) != _WARC_MAGIC
    take, is_start = (_take_member, _starts_member) if compressed else (_take_plain, _starts_plain)
    magic = _GZIP_MAGIC if compressed else _WARC_MAGIC
    while window.has_more():
        start = window.offset
        try:
            found = take(window)
        except _DamagedError as error:
            while window.skip_to(magic) and not is_start(window):
                pass
            yield LostRecord(start, window.offset - start, str(error))
        else:
            yield from found


class _Window:
    """The part of a stream that is held: from the start of the record at hand on."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._held, self._start, self.offset = stream, b"", 0, 0

    def has_more(self) -> bool:
        """Tell whether the file goes on."""
        return self._start < len(self._held) or bool(self.peek(0, 1))

    def peek(self, start: int, size: int) -> bytes:
        """Give bytes from `start` on, counted from the window's; fewer only where the file ends."""
        if len(self._held) < self._start + start + size:
            self._read(start + size)
        first = self._start + start
        return self._held[first : first + size]

    def piece(self, start: int) -> bytes:
        """Give bytes from `start` on, to where the next gzip member seems to start: nearly always all of this one."""
        if len(self._held) < self._start + start + _PIECE_BYTES:
            self._read(start + _PIECE_BYTES)
        first = self._start + start
        following = _MEMBER_START.search(self._held, first + 1, first + _PIECE_BYTES)
        return self._held[first : following.start() if following else first + _PIECE_BYTES]

    def _read(self, size: int) -> None:
        """Hold so many bytes, or all that there are."""
        parts, held = [self._held[self._start :]], len(self._held) - self._start
        while held < size and (more := self._stream.read(max(_READ_BYTES, held))):
            parts.append(more)
            held += len(more)
        self._held, self._start = b"".join(parts), 0

    def advance(self, size: int) -> None:
        """Let go of what lies before."""
        self._start += size
        self.offset += size

    def skip_to(self, magic: bytes) -> bool:
        """Go on to where these bytes stand next, but not here; to the file's end where they don't."""
        self.advance(1)
        while self.peek(0, len(magic)):
            found = self._held.find(magic, self._start)
            if found >= 0:
                self.advance(found - self._start)
                return True
            rest = len(self._held) - self._start
            self.advance(max(1, rest - len(magic) + 1))
        return False


def _take_member(window: _Window) -> list[Record | LostRecord]:
    """Take the gzip member at the window's start: one record, as the standard wants it, or several."""
    data, size = _inflate(window)
    offset = window.offset
    try:
        block_start, block_length = _header(data, 0)
    except _DamagedError as error:
        window.advance(size)
        return [LostRecord(offset, size, str(error))]
    window.advance(size)
    if block_start + block_length + len(_RECORD_END) == len(data) and data.endswith(_RECORD_END):  # nearly always
        return [Record(offset, size, data, block_start, block_length)]
    return list(_records_of_member(data, offset, size))


def _records_of_member(data: bytes, offset: int, size: int) -> Iterator[Record | LostRecord]:
    start = 0
    while start == 0 or (start < len(data) and data[start:].strip()):
        try:
            block_start, block_length = _header(data, start)
        except _DamagedError as error:
            yield LostRecord(offset, size, str(error))
            return
        end = block_start + block_length
        following = data[end : end + len(_RECORD_END) + len(_WARC_MAGIC)]
        if following != _RECORD_END and (end > len(data) or not _ends_record(following)):
            yield LostRecord(offset, size, _wrong_length(block_length))
            return
        end += len(_RECORD_END)
        yield Record(offset, size, data[start:end], block_start - start, block_length)
        start = end


def _inflate(window: _Window) -> tuple[bytes, int]:
    """Inflate the gzip member at the window's start and give its size in the file too."""
    piece = window.piece(0)
    whole = _inflate_whole(piece)
    if whole is not None:
        return whole, len(piece)
    if not piece.startswith(_GZIP_MAGIC[: len(piece)]):
        message = "no gzip member stands there"
        raise _DamagedError(message)
    inflater = isal_zlib.decompressobj(wbits=_GZIP_WINDOW_BITS)
    parts: list[bytes] = []
    used = inflated = 0
    while True:
        try:
            part = inflater.decompress(piece)
        except _InflateError as error:
            message = f"it can't be decompressed ({error})"
            raise _DamagedError(message) from error
        used += len(piece)
        inflated += len(part)
        parts.append(part)
        if max(inflated, used) > MAX_RECORD_BYTES:
            raise _DamagedError(_TOO_LARGE)
        if inflater.eof:
            return part if len(parts) == 1 else b"".join(parts), used - len(inflater.unused_data)
        piece = window.piece(used)
        if not piece:
            raise _DamagedError(_ENDS_BEFORE)


def _inflate_whole(piece: bytes) -> bytes | None:
    """Inflate what is a gzip member from its first byte to its last, which are its size; None for all else."""
    size = int.from_bytes(piece[-_GZIP_SIZE_BYTES:], "little")
    if len(piece) < _MIN_MEMBER_BYTES or not 0 < size <= MAX_RECORD_BYTES:
        return None
    try:
        data = bytes(deflate.gzip_decompress(piece))
    except (deflate.DeflateError, ValueError):
        return None
    return data if len(data) == size else None


def _starts_member(window: _Window) -> bool:
    """Tell a member that holds a WARC record from bytes that happen to look like the start of one."""
    try:
        first = isal_zlib.decompressobj(wbits=_GZIP_WINDOW_BITS).decompress(
            window.peek(0, _PIECE_BYTES), max_length=len(_WARC_MAGIC)
        )
    except _InflateError:
        return False
    return bool(first == _WARC_MAGIC)


def _take_plain(window: _Window) -> list[Record | LostRecord]:
    """Take one record of an uncompressed file, and the line ends after it."""
    block_start, block_length = _header(window.peek(0, _MAX_HEADER_BYTES), 0)
    end = block_start + block_length
    if end > MAX_RECORD_BYTES:
        raise _DamagedError(_TOO_LARGE)
    data = window.peek(0, end)
    if len(data) < end:
        raise _DamagedError(_ENDS_BEFORE)
    following = window.peek(end, len(_RECORD_END) + len(_WARC_MAGIC))
    if not _ends_record(following):
        raise _DamagedError(_wrong_length(block_length))
    record = Record(window.offset, end, data, block_start, block_length)
    window.advance(end + len(following[: len(_RECORD_END)]))
    return [record]


def _starts_plain(window: _Window) -> bool:
    head = window.peek(0, _MAX_HEADER_BYTES)
    try:
        block_start, _ = _header(head, 0)
    except _DamagedError:
        return False
    return _IN_ANY_CASE[_TYPE].search(head, 0, block_start) is not None


def _header(data: bytes, start: int) -> tuple[int, int]:
    """Read the WARC header that starts here: where its block starts, and how long it says that is."""
    end = data.find(_HEADER_END, start, start + _MAX_HEADER_BYTES)
    if end < 0 or not _VERSION.match(data, start):
        message = "it has no WARC header"
        raise _DamagedError(message)
    length = _value(data, _LENGTH, start, end)
    if not length.isdigit() or len(length) > _MAX_DIGITS:
        raise _DamagedError(_wrong_length(length.decode("utf-8", "replace")[:_SHOWN]))
    return end + len(_HEADER_END), int(length)


def _value(data: bytes, name: bytes, start: int, end: int) -> bytes:
    """Give the value of a field of the header within these bounds; empty where it is not there."""
    field = _USUAL[name]
    at = data.find(field, start, end)
    if at < 0:
        found = _IN_ANY_CASE[name].search(data, start, end)
        return found[1].strip() if found else b""
    at += len(field)
    stop = data.find(_LINE_END, at, end)
    return data[at : stop if stop >= 0 else end].strip()


def _ends_record(following: bytes) -> bool:
    """Tell whether a block may end before these bytes: with two line ends and then another record or nothing more."""
    if not following.startswith(_RECORD_END):
        return not following.strip()
    return _WARC_MAGIC.startswith(following[len(_RECORD_END) :].strip())


def _wrong_length(length: object) -> str:
    return f"its header gives a wrong length ({length})"
