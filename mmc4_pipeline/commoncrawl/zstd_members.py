"""Take records from a WARC file of zstd frames (IIPC, "Zstandard Compression for WARC Files 1.0").

Each frame holds one record. The file may begin with a frame that contains the dictionary of all others, which may be
compressed itself. Other skippable frames have no meaning here.
"""

import zstandard

from mmc4_pipeline.commoncrawl.member import ENDS_BEFORE, TOO_LARGE, WARC_MAGIC, DamagedError, records_of_member
from mmc4_pipeline.commoncrawl.warc_record import MAX_RECORD_BYTES, LostRecord, Record
from mmc4_pipeline.commoncrawl.window import PIECE_BYTES, Window
from mmc4_pipeline.commoncrawl.zstd_frames import (
    SKIPPABLE_HEADER_BYTES,
    ZSTD_MAGIC,
    decompress,
    frame_size,
    is_skippable,
)

_DICTIONARY_MAGIC = (0x184D2A5D).to_bytes(4, "little")


class ZstdMembers:
    """The frames of one file, with its dictionary once that was read."""

    def __init__(self) -> None:
        self._dictionary: zstandard.ZstdCompressionDict | None = None

    def take(self, window: Window) -> list[Record | LostRecord]:
        """Take the frame at the window's start and return its records; none of a frame without data.

        Raises DamagedError if the frame is damaged or too large.
        """
        frame = _frame(window)
        if is_skippable(frame):
            if window.offset == 0 and frame.startswith(_DICTIONARY_MAGIC):
                self._dictionary = _dictionary(frame[SKIPPABLE_HEADER_BYTES:])
            found: list[Record | LostRecord] = []
        else:
            found = records_of_member(_content(frame, self._dictionary), window.offset, len(frame))
        window.advance(len(frame))
        return found

    def starts(self, window: Window) -> bool:
        """Return whether a frame starts at the window's start that holds a WARC record."""
        decompressor = zstandard.ZstdDecompressor(dict_data=self._dictionary, max_window_size=MAX_RECORD_BYTES)
        try:
            first = decompressor.stream_reader(window.peek(0, PIECE_BYTES)).read(len(WARC_MAGIC))
        except zstandard.ZstdError:
            return False
        return bool(first == WARC_MAGIC)


def _frame(window: Window) -> bytes:
    """Return the frame at the window's start."""
    wanted = PIECE_BYTES
    while True:
        data = window.peek(0, wanted)
        try:
            size = frame_size(data)
        except ValueError as error:
            raise DamagedError(str(error)) from error
        if size is not None and size <= MAX_RECORD_BYTES:
            return data[:size]
        if len(data) < wanted:
            raise DamagedError(ENDS_BEFORE)
        if wanted > MAX_RECORD_BYTES:
            raise DamagedError(TOO_LARGE)
        wanted *= 4


def _content(frame: bytes, dictionary: zstandard.ZstdCompressionDict | None) -> bytes:
    try:
        data = decompress(frame, MAX_RECORD_BYTES, dictionary)
    except zstandard.ZstdError as error:
        raise DamagedError(f"it cannot be decompressed ({error})") from error
    if data is None:
        raise DamagedError(TOO_LARGE)
    return data


def _dictionary(content: bytes) -> zstandard.ZstdCompressionDict:
    if content.startswith(ZSTD_MAGIC):
        content = _content(content, None)
    return zstandard.ZstdCompressionDict(content)
