"""A stream that only notes where a seek leads: the next read fetches from there."""

import io
from abc import abstractmethod


class SeekableStream(io.RawIOBase):
    """The position of a stream; its subclasses read."""

    _position = 0  # of the next byte that the reader wants

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to another position. Only a seek relative to the end may send a request, for the size."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        self._position = max(0, offset + (self.size() if base is None else base))
        return self._position

    @abstractmethod
    def size(self) -> int:
        """Return the file's size in bytes."""
