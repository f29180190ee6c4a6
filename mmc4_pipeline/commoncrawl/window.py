"""A window over a stream that is read once, from beginning to end."""

from typing import BinaryIO

from stringzilla import find

GZIP_MAGIC = b"\x1f\x8b\x08"
PIECE_BYTES = 32 << 10  # inflated at a time
_READ_BYTES = 128 << 10  # memory of this size is reused; from 1 MiB on, the system clears new pages each time


class Window:
    """The part of a stream that is in memory: from the start of the current record on."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._held, self._start, self.offset = stream, b"", 0, 0

    def has_more(self) -> bool:
        """Return whether the file continues."""
        return self._start < len(self._held) or bool(self.peek(0, 1))

    def peek(self, start: int, size: int) -> bytes:
        """Return bytes from `start` on, relative to the window's start; fewer only at the end of the file."""
        if len(self._held) < self._start + start + size:
            self._read(start + size)
        first = self._start + start
        return self._held[first : first + size]

    def piece(self, start: int) -> bytes:
        """Return bytes from `start` up to the apparent start of the next gzip member: nearly always all of this one."""
        if len(self._held) < self._start + start + PIECE_BYTES:
            self._read(start + PIECE_BYTES)
        first = self._start + start
        following = find(self._held, GZIP_MAGIC, first + 1, first + PIECE_BYTES)
        return self._held[first : following if following >= 0 else first + PIECE_BYTES]

    def members(self) -> list[bytes]:
        """Return the bytes in memory, cut where gzip members seem to start, without the last one, which may go on.

        One call for many members takes a fraction of the time of as many calls of `piece`.
        """
        if len(self._held) < self._start + PIECE_BYTES:
            self._read(PIECE_BYTES)
        held, start = self._held, self._start
        members: list[bytes] = []
        while held.startswith(GZIP_MAGIC, start) and (following := find(held, GZIP_MAGIC, start + 1)) >= 0:
            members.append(held[start:following])
            start = following
        return members

    def _read(self, size: int) -> None:
        """Read until that many bytes are in memory, or the file ends."""
        parts, held = [self._held[self._start :]], len(self._held) - self._start
        while held < size and (more := self._stream.read(max(_READ_BYTES, held))):
            parts.append(more)
            held += len(more)
        self._held, self._start = b"".join(parts), 0

    def advance(self, size: int) -> None:
        """Move the window's start forward and discard the bytes before it."""
        self._start += size
        self.offset += size

    def skip_space(self) -> None:
        """Move to the next byte that is not white space, or to the end of the file."""
        while (piece := self.peek(0, PIECE_BYTES)) and not piece.lstrip():
            self.advance(len(piece))
        self.advance(len(piece) - len(piece.lstrip()))

    def skip_to(self, magic: bytes) -> bool:
        """Move to the next occurrence of these bytes after this position and return True, or to the end of the file."""
        self.advance(1)
        while self.peek(0, len(magic)):
            found = self._held.find(magic, self._start)
            if found >= 0:
                self.advance(found - self._start)
                return True
            rest = len(self._held) - self._start
            self.advance(max(1, rest - len(magic) + 1))
        return False
