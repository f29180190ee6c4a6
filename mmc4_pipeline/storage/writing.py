"""Write files atomically, hash them while they are written, rename and remove them."""

import hashlib
import io
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from mmc4_pipeline.naming import in_stage_folder
from mmc4_pipeline.storage.full_disk import naming_full_disk
from mmc4_pipeline.storage.paths import filesystem, is_in_object_store
from mmc4_pipeline.storage.reading import matches_below
from schemas.manifest import WrittenFile


class HashingWriter(io.RawIOBase):
    """A stream that hashes what it passes on, so that a finished file need not be read again for its manifest."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.position = 0

    def writable(self) -> bool:
        """Return True: Arrow checks this."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self.position

    def write(self, data: Any) -> int:
        """Write and hash."""
        view = memoryview(data).cast("B")
        self._stream.write(view)
        self._hash.update(view)
        self.position += len(view)
        return len(view)

    def hexdigest(self) -> str:
        """Return the sha256 of the bytes written."""
        return self._hash.hexdigest()


@contextmanager
def write_atomically(path: str) -> Iterator[HashingWriter]:
    """Write a complete file or none; after an error `path` is as it was before.

    If the store can rename, the file is written under a temporary name next to `path` and renamed at the end. An object
    store cannot rename, but an object exists there only once it is uploaded: the file is written on this machine first.
    """
    fs = filesystem(path)
    if is_in_object_store(path):
        with tempfile.TemporaryDirectory() as folder:
            local = f"{folder}/whole"
            with _writing(local, path, tempfile.gettempdir(), LocalFileSystem()) as writer:
                yield writer
            fs.put_file(local, path)
        return
    folder = path.rpartition("/")[0] or "."
    fs.makedirs(folder, exist_ok=True)
    temporary = f"{path}.tmp-{uuid.uuid4().hex[:12]}"
    try:
        with _writing(temporary, path, folder, fs) as writer:
            yield writer
        rename(temporary, path)
    except BaseException:
        if fs.exists(temporary):
            fs.rm(temporary)
        raise


@contextmanager
def _writing(path: str, name: str, folder: str, fs: AbstractFileSystem) -> Iterator[HashingWriter]:
    """Open a file in a folder for writing, and sync it at the end: a power loss must not leave a renamed file empty.

    Raises UserError, with the file's final name, if the disk is full.
    """
    if not isinstance(fs, LocalFileSystem):
        with fs.open(path, "wb") as stream:
            yield HashingWriter(stream)
        return
    writer: HashingWriter | None = None
    with (
        naming_full_disk(folder, name.rpartition("/")[2], lambda: writer.position if writer else 0),
        fs.open(path, "wb") as stream,
    ):
        writer = HashingWriter(stream)
        yield writer
        stream.flush()
        os.fsync(stream.fileno())


def rename(path: str, to: str) -> None:
    """Rename a file within its storage and replace the file that had the new name; atomic if the store can do that.

    An object store copies the object, which replaces the other at once, and then the old one is removed.
    """
    fs = filesystem(to)
    if is_in_object_store(to):
        fs.cp_file(path, to)
        fs.rm_file(path)
        return
    fs.makedirs(to.rpartition("/")[0] or ".", exist_ok=True)
    if isinstance(fs, LocalFileSystem):
        os.replace(path, to)  # noqa: PTH105 - fsspec's mv does not replace atomically
        _sync_folder(to.rpartition("/")[0] or ".")
    else:
        if fs.exists(to):  # the file of a shard that was not finished: HDFS does not rename to an existing name
            fs.rm(to)
        fs.mv(path, to)


def _sync_folder(folder: str) -> None:
    """Make the names in a local folder survive a power loss."""
    descriptor = os.open(folder.removeprefix("file://"), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def written(path: str, writer: HashingWriter) -> WrittenFile:
    """Describe the file that a writer has written, by its path below its stage's folder."""
    return WrittenFile(in_stage_folder(path.rpartition("/")[2]), writer.position, writer.hexdigest())


def write_bytes(path: str, data: bytes) -> WrittenFile:
    """Write a small file atomically."""
    with write_atomically(path) as writer:
        writer.write(data)
    return written(path, writer)


def remove(path: str) -> None:
    """Remove a file."""
    filesystem(path).rm(path)


def remove_leftovers(folder: str) -> None:
    """Remove the temporary files that a killed run left under a folder."""
    for path in matches_below(folder, "**/*.tmp-*"):
        filesystem(path).rm(path)


def remove_folder(folder: str) -> None:
    """Remove a folder and everything in it, if it exists. Another process may do the same at the same time."""
    fs = filesystem(folder)
    if fs.exists(folder):
        with suppress(FileNotFoundError):
            fs.rm(folder, recursive=True)
