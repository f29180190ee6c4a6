"""Write tars whose bytes follow from their contents, and read them back, noticing truncated ones."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

from mmc4_pipeline.errors import UserError


def read_files(stream: IO[bytes], path: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and contents of each file of a tar, in order; raises UserError if it is damaged or truncated."""
    return ((name, data) for name, data, _ in read_files_from(stream, path, 0))


def read_files_from(stream: IO[bytes], path: str, start: int) -> Iterator[tuple[str, bytes, int]]:
    """Yield name and contents of each file from the offset `start` on, and the offset at which the next one begins.

    Raises UserError if the tar is damaged or truncated.
    """
    if start:
        stream.seek(start)
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                file = tar.extractfile(member)
                blocks = -(-member.size // tarfile.BLOCKSIZE)
                end = start + member.offset_data + blocks * tarfile.BLOCKSIZE
                yield member.name, (file or io.BytesIO()).read(), end
            # A tar that is truncated between two files, or has an invalid header, ends there for tarfile. A complete
            # one ends with two empty blocks.
            if tar.fileobj is None or tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it has no end mark")
    except (tarfile.TarError, EOFError) as error:
        raise unreadable(path, error) from error


@dataclass(frozen=True, slots=True)
class Member:
    """Where a file is in a tar: `start` is that of its header, `offset` that of its `size` bytes."""

    name: str
    start: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Return where the next file begins."""
        return self.offset + -(-self.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def members_of(stream: BinaryIO, path: str) -> Iterator[Member]:
    """Yield the files of a tar, in order, without reading them; raises UserError if it is damaged or truncated."""
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                yield Member(member.name, member.offset, member.offset_data, member.size)
            stream.seek(tar.offset)
            if stream.read(2 * tarfile.BLOCKSIZE) != bytes(2 * tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it has no end mark")
    except (tarfile.TarError, EOFError) as error:
        raise unreadable(path, error) from error


def unreadable(path: str, why: object) -> UserError:
    """Return the error for a shard that cannot be read."""
    return UserError(f"{path}: not readable as a shard ({why}); cut the dataset again")


def add_file(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a file whose header has only name and size; return the offset of its bytes in the tar."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    start = tar.offset
    tar.addfile(header, io.BytesIO(data))
    return start + tarfile.BLOCKSIZE


def open_tar(stream: Any) -> tarfile.TarFile:
    """Open a new tar on anything with write and tell. USTAR and fixed headers: the same files give the same bytes."""
    return tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT)


def read_image(stream: BinaryIO, offset: int, length: int) -> bytes:
    """Read an image's bytes from an open tar; raises UserError if the tar ends earlier."""
    stream.seek(offset)
    data = stream.read(length)
    if len(data) != length:
        raise UserError(
            f"a tar of the images stage is truncated: {len(data)} of {length} bytes at {offset}; run the stage again"
        )
    return data
