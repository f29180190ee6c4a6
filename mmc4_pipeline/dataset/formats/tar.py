"""Reads the tars of formats, and notices each that is cut short: tarfile takes many cuts for the end."""

import io
import tarfile
from collections.abc import Iterator
from typing import IO

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
