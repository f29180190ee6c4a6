"""Read a file as a stream of ranges: only as much as is wanted of a large file, with retries wherever it breaks."""

from collections.abc import Callable
from typing import Any

from mmc4_pipeline.storage.seekable import SeekableStream

_FIRST, _LONGEST = 64 << 10, 16 << 20  # bytes of a range: each is twice as long as the one before


class RangeStream(SeekableStream):
    """A file that is read with `read(offset, length)`, which returns fewer bytes only at the file's end.

    In order, ranges become longer, so that a reader who stops early has requested at most twice as much as it needed
    (or 64 KiB), and one who does not needs few requests. After a seek, they are short again. `size` returns the file's
    size in bytes; it is called only to seek from the end.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: Callable[[], int]) -> None:
        self._read, self._read_size = read, size
        self._start = 0
        self._range, self._length, self._at_end = b"", _FIRST, False

    def size(self) -> int:
        """Return the file's size in bytes."""
        return self._read_size()

    def readinto(self, buffer: Any) -> int:
        """Read some bytes; 0 only at the end of the file."""
        view = memoryview(buffer).cast("B")
        if not self._start <= self._position < self._start + len(self._range):
            self._fetch(len(view))
        begin = self._position - self._start
        data = self._range[begin : begin + len(view)]
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _fetch(self, wanted: int) -> None:
        end = self._start + len(self._range)
        if self._position != end:
            self._length, self._at_end = _FIRST, False
        if self._at_end:
            self._range, self._start = b"", self._position
            return
        length = max(wanted, self._length)
        self._start, self._range = self._position, self._read(self._position, length)
        self._length, self._at_end = min(_LONGEST, 2 * self._length), len(self._range) < length
