"""Write tars whose bytes follow from their contents, and read them back, noticing truncated ones."""

import io
import tarfile
from collections.abc import Iterator
from typing import IO, Any, BinaryIO

from mmc4_pipeline.errors import UserError


def read_files(stream: IO[bytes], path: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and contents of each file of a tar, in order; raises UserError where it is damaged or cut short."""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                file = tar.extractfile(member)
                yield member.name, (file or io.BytesIO()).read()
            # tarfile takes a cut between two files, or a header that is none, for the end; that has two empty blocks.
            if tar.fileobj is None or tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                message = "it has no end mark"
                raise tarfile.ReadError(message)
    except (tarfile.TarError, EOFError) as error:
        raise unreadable(path, error) from error


def unreadable(path: str, why: object) -> UserError:
    """Give the error for a shard that can't be read."""
    return UserError(f"{path}: not readable as a shard ({why}); cut the dataset again")


def add_file(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a file whose header says nothing but name and size; give the offset of its bytes in the tar."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    start = tar.offset
    tar.addfile(header, io.BytesIO(data))
    return start + tarfile.BLOCKSIZE


def open_tar(stream: Any) -> tarfile.TarFile:
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
