"""The images stage's tars: every distinct image of a shard once, in document order, found by offset and length."""

import io
import tarfile
from collections.abc import Iterator
from typing import IO, Any, BinaryIO

from mmc4_pipeline.errors import UserError


def add_file(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a file whose header says nothing but name and size; give the offset of its bytes in the tar."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    start = tar.offset
    tar.addfile(header, io.BytesIO(data))
    return start + tarfile.BLOCKSIZE


def open_tar(stream: Any) -> tarfile.TarFile:  # noqa: ANN401 - tarfile's own protocol is private
    """Open a new tar on anything with write and tell. USTAR and fixed headers: the same files give the same bytes."""
    return tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT)


def read_image(stream: BinaryIO, offset: int, length: int) -> bytes:
    """Read an image's bytes from an open tar; raises UserError where the tar ends before."""
    stream.seek(offset)
    data = stream.read(length)
    if len(data) != length:
        message = f"a tar of the images stage is cut short: {len(data)} of {length} bytes at {offset}; run it again"
        raise UserError(message)
    return data


class Spool:
    """Keeps encoded images on disk in the order in which the web gives them, until the tar can be written in order."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Spool to an empty temporary file."""
        self._stream = stream
        self._places: dict[str, tuple[int, int]] = {}

    def put(self, url: str, data: bytes) -> None:
        """Keep an image."""
        self._places[url] = (self._stream.seek(0, io.SEEK_END), len(data))
        self._stream.write(data)

    def take(self, urls: Iterator[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the images of those URLs that have one, in the order of the URLs."""
        for url in urls:
            if url in self._places:
                offset, length = self._places[url]
                self._stream.seek(offset)
                yield url, self._stream.read(length)
