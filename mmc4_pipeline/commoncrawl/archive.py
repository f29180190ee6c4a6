"""Stream the records of WARC and WAT files; damage costs only the damaged records.

Each gzip member is inflated separately and its CRC is checked. So its place in the file is known, and an error affects
only that member: reading continues at the next member that starts a WARC record. Nearly all members are small and are
inflated in one call (libdeflate is the fastest at that), the others piece by piece (igzip). The stream is read once
from beginning to end, without seeking, and no more of it is held in memory than one record needs.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

import deflate
from isal import isal_zlib

from mmc4_pipeline.commoncrawl.warc_record import (
    HEADER_END,
    LENGTH,
    MAX_RECORD_BYTES,
    TYPE,
    LostRecord,
    Record,
    field_value,
)
from mmc4_pipeline.commoncrawl.window import GZIP_MAGIC, PIECE_BYTES, Window

_GZIP_WINDOW_BITS = 31
_InflateError: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub takes it for an instance
_GZIP_SIZE_BYTES = 4  # RFC 1952's ISIZE
_MIN_MEMBER_BYTES = 18  # header and trailer
_WARC_MAGIC = b"WARC/"
_VERSION = re.compile(rb"WARC/\d\.\d")
_MAX_HEADER_BYTES = 64 << 10
_RECORD_END = b"\r\n\r\n"
_MAX_DIGITS = 18
_SHOWN = 30  # characters of a broken value that a message shows
_TOO_LARGE = f"the record is larger than {MAX_RECORD_BYTES >> 20} MiB"
_ENDS_BEFORE = "the file ends before the record does"


class _DamagedError(Exception):
    """The bytes at the window's start are not an intact record."""


def records(stream: BinaryIO) -> Iterator[Record | LostRecord]:
    """Yield the records of a WARC or WAT file in file order, with the place of each and of each damaged part.

    The file is either uncompressed or gzip with one member per record, as the standard demands; if a member holds
    several records, each gets the member's place. Only the stream's `read` is called, and its exceptions pass through.
    Every byte of the file is in exactly one yielded place, except bytes between the records of an uncompressed file.
    Nothing is yielded for an empty file.
    """
    window = Window(stream)
    compressed = window.peek(0, len(_WARC_MAGIC)) != _WARC_MAGIC
    take, is_start = (_take_member, _starts_member) if compressed else (_take_plain, _starts_plain)
    magic = GZIP_MAGIC if compressed else _WARC_MAGIC
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


def _take_member(window: Window) -> list[Record | LostRecord]:
    """Take the gzip member at the window's start: one record, as the standard demands, or several."""
    data, size = _inflate(window)
    found = list(_records_of_member(data, window.offset, size))
    window.advance(size)
    return found


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


def _inflate(window: Window) -> tuple[bytes, int]:
    """Inflate the gzip member at the window's start; return its data and its size in the file."""
    piece = window.piece(0)
    whole = _inflate_whole(piece)
    if whole is not None:
        return whole, len(piece)
    if not piece.startswith(GZIP_MAGIC[: len(piece)]):
        raise _DamagedError("it is not a gzip member")
    inflater = isal_zlib.decompressobj(wbits=_GZIP_WINDOW_BITS)
    parts: list[bytes] = []
    used = inflated = 0
    while True:
        try:
            part = inflater.decompress(piece)
        except _InflateError as error:
            raise _DamagedError(f"it cannot be decompressed ({error})") from error
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
    """Inflate bytes that are exactly one gzip member, whose last bytes are its size; return None for all others."""
    size = int.from_bytes(piece[-_GZIP_SIZE_BYTES:], "little")
    if len(piece) < _MIN_MEMBER_BYTES or not 0 < size <= MAX_RECORD_BYTES:
        return None
    try:
        data = bytes(deflate.gzip_decompress(piece))
    except (deflate.DeflateError, ValueError):
        return None
    return data if len(data) == size else None


def _starts_member(window: Window) -> bool:
    """Return whether a member starts here that holds a WARC record, and not bytes that only look like its start."""
    try:
        first = isal_zlib.decompressobj(wbits=_GZIP_WINDOW_BITS).decompress(
            window.peek(0, PIECE_BYTES), max_length=len(_WARC_MAGIC)
        )
    except _InflateError:
        return False
    return bool(first == _WARC_MAGIC)


def _take_plain(window: Window) -> list[Record | LostRecord]:
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


def _starts_plain(window: Window) -> bool:
    head = window.peek(0, _MAX_HEADER_BYTES)
    try:
        block_start, _ = _header(head, 0)
    except _DamagedError:
        return False
    return bool(field_value(head, TYPE, 0, block_start))


def _header(data: bytes, start: int) -> tuple[int, int]:
    """Read the WARC header that starts here; return where its block starts and the block's declared length."""
    end = data.find(HEADER_END, start, start + _MAX_HEADER_BYTES)
    if end < 0 or not _VERSION.match(data, start):
        raise _DamagedError("it has no WARC header")
    length = field_value(data, LENGTH, start, end)
    if not length.isdigit() or len(length) > _MAX_DIGITS:
        raise _DamagedError(_wrong_length(length.decode("utf-8", "replace")[:_SHOWN]))
    return end + len(HEADER_END), int(length)


def _ends_record(following: bytes) -> bool:
    """Return whether a block may end before these bytes: two line ends, then another record or the end of the file."""
    if not following.startswith(_RECORD_END):
        return not following.strip()
    return _WARC_MAGIC.startswith(following[len(_RECORD_END) :].strip())


def _wrong_length(length: object) -> str:
    return f"its header declares a wrong length ({length})"
