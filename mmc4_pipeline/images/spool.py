"""Keeps a shard's encoded images on disk until its tar can be written in document order."""

import io
from collections.abc import Iterator
from typing import IO


class Spool:
    """Encoded images in a temporary file, stored in the order in which they arrive and read back in any order."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Spool to an empty temporary file."""
        self._stream = stream
        self._places: dict[str, tuple[int, int]] = {}

    def put(self, url: str, data: bytes) -> None:
        """Store an image."""
        self._places[url] = (self._stream.seek(0, io.SEEK_END), len(data))
        self._stream.write(data)

    def take(self, urls: Iterator[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the stored images of these URLs, in the order of the URLs."""
        for url in urls:
            if url in self._places:
                offset, length = self._places[url]
                self._stream.seek(offset)
                yield url, self._stream.read(length)
