"""Keeps images or samples on disk until they can be written in another place or order."""

import io
import tempfile
from collections.abc import Hashable
from contextlib import suppress

from mmc4_pipeline.storage.full_disk import naming_full_disk


class Spool:
    """Data in a temporary file, stored in the order in which it arrives and read back in any order."""

    def __init__(self) -> None:
        """Open an empty temporary file; `close` removes it."""
        self._stream = tempfile.TemporaryFile()  # noqa: SIM115 - see close
        self._places: dict[Hashable, tuple[int, int]] = {}
        self._bytes = 0

    def put(self, key: Hashable, data: bytes) -> None:
        """Store some data. Raises UserError if the disk for temporary files is full."""
        with naming_full_disk(tempfile.gettempdir(), "a temporary file", lambda: self._bytes):
            self._places[key] = (self._stream.seek(0, io.SEEK_END), len(data))
            self._stream.write(data)
            self._stream.flush()
            self._bytes += len(data)

    def get(self, key: Hashable) -> bytes | None:
        """Return stored data; None if there is none."""
        if key not in self._places:
            return None
        offset, length = self._places[key]
        self._stream.seek(offset)
        return self._stream.read(length)

    def close(self) -> None:
        """Remove the temporary file. What it could not write on a full disk is not needed any more."""
        with suppress(OSError):
            self._stream.close()
