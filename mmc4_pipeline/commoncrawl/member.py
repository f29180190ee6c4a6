"""Cut decompressed bytes into WARC records: where a record's header and block end."""

import re

from mmc4_pipeline.commoncrawl.warc_record import HEADER_END, LENGTH, MAX_RECORD_BYTES, LostRecord, Record, field_value

WARC_MAGIC = b"WARC/"
MAX_HEADER_BYTES = 64 << 10
TOO_LARGE = f"the record is larger than {MAX_RECORD_BYTES >> 20} MiB"
ENDS_BEFORE = "the file ends before the record does"
RECORD_END = b"\r\n\r\n"
FOLLOWING_BYTES = len(RECORD_END) + len(WARC_MAGIC)  # after a block, to see whether it ends there
_USUAL_STARTS = (b"WARC/1.0\r\n", b"WARC/1.1\r\n")
_VERSION = re.compile(rb"WARC/\d\.\d")
_HEADER_END = re.compile(rb"\n\r?\n")
_SPACE = re.compile(rb"\s*")
_MAX_DIGITS = 18
_SHOWN = 30  # characters of a broken value that a message shows


class DamagedError(Exception):
    """The bytes at a place of the file are not an intact record."""


def records_of_member(data: bytes, offset: int, size: int) -> list[Record | LostRecord]:
    """Return the records of a compressed member's content: one, as the standard demands, or several.

    `offset` and `size` are the member's place in the file, which is also the place of each of its records.
    """
    found: list[Record | LostRecord] = []
    start = 0
    while start == 0 or start < len(data):
        try:
            block_start, block_length = header(data, start)
        except DamagedError as error:
            return [*found, LostRecord(offset, size, str(error))]
        end = block_start + block_length
        after = end + len(RECORD_END)
        if after != len(data) or not data.endswith(RECORD_END):
            if end > len(data) or not ends_record(data[end : end + FOLLOWING_BYTES]):
                return [*found, LostRecord(offset, size, wrong_length(block_length))]
            after = end_of_space(data, end)
        own = data if after - start == len(data) else data[start:after]
        found.append(Record(offset, size, own, block_start - start, block_length))
        start = after
    return found


def header(data: bytes, start: int) -> tuple[int, int]:
    """Read the WARC header that starts here; return where its block starts and the block's declared length.

    Raises DamagedError if there is none.
    """
    limit = start + MAX_HEADER_BYTES
    if data.startswith(_USUAL_STARTS, start):
        end = data.find(HEADER_END, start, limit)
        block_start = end + len(HEADER_END)
    else:  # some programs write lines that end in LF alone
        found = _HEADER_END.search(data, start, limit)
        end, block_start = found.span() if found and _VERSION.match(data, start) else (-1, -1)
    if end < 0:
        raise DamagedError("it has no WARC header")
    length = field_value(data, LENGTH, start, end)
    if not length.isdigit() or len(length) > _MAX_DIGITS:
        raise DamagedError(wrong_length(length.decode("utf-8", "replace")[:_SHOWN]))
    return block_start, int(length)


def ends_record(following: bytes) -> bool:
    """Return whether a block may end before these bytes: line ends or none, then another record or the end of the file.

    The standard demands two line ends, but not all programs write two. After two, the next record may be damaged.
    """
    return following.startswith(RECORD_END) or WARC_MAGIC.startswith(following.lstrip()[: len(WARC_MAGIC)])


def end_of_space(data: bytes, start: int) -> int:
    """Return where the line ends after a record end."""
    found = _SPACE.match(data, start)
    return found.end() if found else start


def wrong_length(length: object) -> str:
    """Return what is wrong with a record of another length than its header declares."""
    return f"its header declares a wrong length ({length})"
