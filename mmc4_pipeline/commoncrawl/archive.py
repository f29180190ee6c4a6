"""Stream the records of WARC and WAT files; damage costs only the damaged records.

Each gzip member or zstd frame is decompressed separately and checked by its checksum. So its place in the file is
known, and an error affects only that member: reading continues at the next member that starts a WARC record. Nearly all
gzip members are small and are inflated in one call (libdeflate is the fastest at that), the others piece by piece
(igzip). The stream is read once from beginning to end, without seeking, and no more of it is held in memory than a
mebibyte of records and one more record.
"""

from codecs import BOM_UTF8
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

import deflate
from isal import isal_zlib

from mmc4_pipeline.commoncrawl.member import (
    ENDS_BEFORE,
    FOLLOWING_BYTES,
    MAX_HEADER_BYTES,
    TOO_LARGE,
    WARC_MAGIC,
    DamagedError,
    ends_record,
    header,
    records_of_member,
    wrong_length,
)
from mmc4_pipeline.commoncrawl.warc_record import MAX_RECORD_BYTES, TYPE, LostRecord, Record, field_value
from mmc4_pipeline.commoncrawl.window import GZIP_MAGIC, PIECE_BYTES, Window
from mmc4_pipeline.commoncrawl.zstd_frames import ZSTD_MAGIC, is_skippable
from mmc4_pipeline.commoncrawl.zstd_members import ZstdMembers

_GZIP_WINDOW_BITS = 31
_InflateError: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub takes it for an instance
_GZIP_SIZE_BYTES = 4  # RFC 1952's ISIZE
_MIN_MEMBER_BYTES = 18  # header and trailer
_BATCH_BYTES = 1 << 20  # inflated, of members that are handled together: as much as the processor's caches hold


def records(stream: BinaryIO) -> Iterator[Record | LostRecord]:
    """Yield the records of a WARC or WAT file: see `batches`."""
    return chain.from_iterable(batches(stream))


def batches(stream: BinaryIO) -> Iterator[list[Record | LostRecord]]:
    """Yield the records of a WARC or WAT file in file order, with the place of each and of each damaged part.

    Records that were read together are yielded together: about a mebibyte of them at most, unless one is larger.

    The file is uncompressed, or gzip or zstd with one member per record, as the standards demand; if a member holds
    several records, each gets the member's place. Only the stream's `read` is called, and its exceptions pass through.
    Every byte of the file is in exactly one yielded place, except white space between records, a byte order mark,
    and zstd frames that hold no data. Nothing is yielded for an empty file.
    """
    window = Window(stream)
    if window.peek(0, len(BOM_UTF8)) == BOM_UTF8:
        window.advance(len(BOM_UTF8))
    window.skip_space()
    first = window.peek(0, len(WARC_MAGIC))
    if first == WARC_MAGIC:
        take, is_start, magic = _take_plain, _starts_plain, WARC_MAGIC
    elif first.startswith(ZSTD_MAGIC) or is_skippable(first):
        members = ZstdMembers()
        take, is_start, magic = members.take, members.starts, ZSTD_MAGIC
    else:
        take, is_start, magic = _take_members, _starts_member, GZIP_MAGIC
    while window.has_more():
        start = window.offset
        try:
            found = take(window)
        except DamagedError as error:
            while window.skip_to(magic) and not is_start(window):
                pass
            yield [LostRecord(start, window.offset - start, str(error))]
        else:
            yield found
            window.skip_space()


def _take_members(window: Window) -> list[Record | LostRecord]:
    """Take the gzip members in memory. Each has one record, as the standard demands, or several."""
    found: list[Record | LostRecord] = []
    offset, inflated = window.offset, 0
    for member in window.members():
        data = _inflate_whole(member)
        if data is None:
            break
        found += records_of_member(data, offset, len(member))
        offset += len(member)
        inflated += len(data)
        if inflated > _BATCH_BYTES:
            break
    if not found:  # a long member, a damaged one, or the last one
        data, size = _inflate(window)
        found = records_of_member(data, offset, size)
        offset += size
    window.advance(offset - window.offset)
    return found


def _inflate(window: Window) -> tuple[bytes, int]:
    """Inflate the gzip member at the window's start; return its data and its size in the file."""
    piece = window.piece(0)
    whole = _inflate_whole(piece)
    if whole is not None:
        return whole, len(piece)
    if not piece.startswith(GZIP_MAGIC[: len(piece)]):
        raise DamagedError("it is not a gzip member")
    inflater = isal_zlib.decompressobj(wbits=_GZIP_WINDOW_BITS)
    parts: list[bytes] = []
    used = inflated = 0
    while True:
        try:
            part = inflater.decompress(piece)
        except _InflateError as error:
            raise DamagedError(f"it cannot be decompressed ({error})") from error
        used += len(piece)
        inflated += len(part)
        parts.append(part)
        if max(inflated, used) > MAX_RECORD_BYTES:
            raise DamagedError(TOO_LARGE)
        if inflater.eof:
            return part if len(parts) == 1 else b"".join(parts), used - len(inflater.unused_data)
        piece = window.piece(used)
        if not piece:
            raise DamagedError(ENDS_BEFORE)


def _inflate_whole(piece: bytes) -> bytes | None:
    """Inflate bytes that are exactly one gzip member, whose last bytes are its size; return None for all others."""
    size = int.from_bytes(piece[-_GZIP_SIZE_BYTES:], "little")
    if len(piece) < _MIN_MEMBER_BYTES or not 0 < size <= MAX_RECORD_BYTES:
        return None
    try:
        data: bytes = deflate.gzip_decompress(piece)  # type: ignore[assignment]  # a bytearray, which is not copied
    except (deflate.DeflateError, ValueError):
        return None
    return data if len(data) == size else None


def _starts_member(window: Window) -> bool:
    """Return whether a member starts here that holds a WARC record, and not bytes that only look like its start."""
    try:
        first = isal_zlib.decompressobj(wbits=_GZIP_WINDOW_BITS).decompress(
            window.peek(0, PIECE_BYTES), max_length=len(WARC_MAGIC)
        )
    except _InflateError:
        return False
    return bool(first == WARC_MAGIC)


def _take_plain(window: Window) -> list[Record | LostRecord]:
    """Take one record of an uncompressed file."""
    block_start, block_length = header(window.peek(0, MAX_HEADER_BYTES), 0)
    end = block_start + block_length
    if end > MAX_RECORD_BYTES:
        raise DamagedError(TOO_LARGE)
    data = window.peek(0, end)
    if len(data) < end:
        raise DamagedError(ENDS_BEFORE)
    if not ends_record(window.peek(end, FOLLOWING_BYTES)):
        raise DamagedError(wrong_length(block_length))
    record = Record(window.offset, end, data, block_start, block_length)
    window.advance(end)
    return [record]


def _starts_plain(window: Window) -> bool:
    head = window.peek(0, MAX_HEADER_BYTES)
    try:
        block_start, _ = header(head, 0)
    except DamagedError:
        return False
    return bool(field_value(head, TYPE, 0, block_start))
