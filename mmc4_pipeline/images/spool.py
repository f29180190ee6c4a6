"""Keeps encoded images on disk until they can be written in another order."""

import io
from collections.abc import Hashable
from typing import IO


class Spool:
    """Encoded images in a temporary file, stored in the order in which they arrive and read back in any order."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Spool to an empty temporary file."""
        self._stream = stream
        self._places: dict[Hashable, tuple[int, int]] = {}

    def put(self, key: Hashable, data: bytes) -> None:
        """Store an image."""
        self._places[key] = (self._stream.seek(0, io.SEEK_END), len(data))
        self._stream.write(data)

    def get(self, key: Hashable) -> bytes | None:
        """Return a stored image; None if there is none."""
        if key not in self._places:
            return None
        offset, length = self._places[key]
        self._stream.seek(offset)
        return self._stream.read(length)
