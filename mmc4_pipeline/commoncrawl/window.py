"""A window over a stream that is read once, from front to back."""

import re
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b\x08"
PIECE_BYTES = 32 << 10  # what is inflated at a time
_READ_BYTES = 128 << 10  # memory of this size is used again; from 1 MiB on the system clears new pages each time
_MEMBER_START = re.compile(re.escape(GZIP_MAGIC))  # found in half of bytes.find's time


class Window:
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
        if len(self._held) < self._start + start + PIECE_BYTES:
            self._read(start + PIECE_BYTES)
        first = self._start + start
        following = _MEMBER_START.search(self._held, first + 1, first + PIECE_BYTES)
        return self._held[first : following.start() if following else first + PIECE_BYTES]

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
