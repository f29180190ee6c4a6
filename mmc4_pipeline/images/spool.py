"""Keeps encoded images on disk until they can be written in another order."""

import io
import tempfile
from collections.abc import Hashable
from typing import IO

from mmc4_pipeline.storage.full_disk import naming_full_disk


class Spool:
    """Encoded images in a temporary file, stored in the order in which they arrive and read back in any order."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Spool to an empty temporary file."""
        self._stream = stream
        self._places: dict[Hashable, tuple[int, int]] = {}
        self._bytes = 0

    def put(self, key: Hashable, data: bytes) -> None:
        """Store an image. Raises UserError if the disk for temporary files is full."""
        with naming_full_disk(tempfile.gettempdir(), "the temporary file of images", lambda: self._bytes):
            self._places[key] = (self._stream.seek(0, io.SEEK_END), len(data))
            self._stream.write(data)
            self._stream.flush()
            self._bytes += len(data)

    def get(self, key: Hashable) -> bytes | None:
        """Return a stored image; None if there is none."""
        if key not in self._places:
            return None
        offset, length = self._places[key]
        self._stream.seek(offset)
        return self._stream.read(length)
