"""Files on any storage that fsspec knows (local, s3://, gs://, hdfs://, https://). All access goes through here."""

import glob
import hashlib
import io
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, BinaryIO, TypeVar

import fsspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from aiohttp import ClientError  # what fsspec's http:// raises
from fsspec.implementations.local import LocalFileSystem

from mmc4_pipeline.errors import UserError
from schemas.arrow import arrow_schema, from_table, to_table

Record = TypeVar("Record")


@cache
def _filesystem(protocol: str) -> fsspec.AbstractFileSystem:
    try:
        # Other processes write what this one waits for: a cached listing would hide it.
        return fsspec.filesystem(protocol, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        message = f"{protocol}:// is not available here: {error}"
        raise UserError(message) from error


def filesystem(path: str) -> fsspec.AbstractFileSystem:
    """Give the file system of a path or URL; raises UserError where its package is missing."""
    return _filesystem(fsspec.utils.get_protocol(path))


def is_local(path: str) -> bool:
    """Tell whether a path is on this machine's own file system."""
    return isinstance(filesystem(path), LocalFileSystem)


def join(folder: str, *names: str) -> str:
    """Join a folder, local or a URL, with names below it."""
    return "/".join([folder.rstrip("/"), *names])


def exists(path: str) -> bool:
    """Tell whether there is such a file or folder."""
    return bool(filesystem(path).exists(path))


def matches(pattern: str) -> list[str]:
    """Give the files that a glob pattern names, sorted, in the form in which the pattern was given."""
    fs = filesystem(pattern)
    found = sorted(str(path) for path in fs.glob(pattern))
    if isinstance(fs, LocalFileSystem):
        return [os.path.relpath(path) if not pattern.startswith("/") else path for path in found]
    return [str(fs.unstrip_protocol(path)) for path in found]


def matches_below(folder: str, pattern: str) -> list[str]:
    """Give the files below a folder that a glob pattern names; the folder's own name is no pattern ("out [1]")."""
    return matches(join(glob.escape(folder), pattern))


def size(path: str) -> int:
    """Give a file's size in bytes."""
    return int(filesystem(path).size(path))


def open_read(path: str) -> BinaryIO:
    """Open a file for reading; raises UserError where it is not there or not readable."""
    try:
        return filesystem(path).open(path, "rb")  # type: ignore[no-any-return]
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        message = f"{path}: cannot be read ({error.strerror or 'not found'})"
        raise UserError(message) from error


def read_range(path: str, offset: int, length: int) -> bytes:
    """Read some bytes of a file, fewer where it ends before; raises UserError where it can't be read."""
    try:
        return bytes(filesystem(path).cat_file(path, start=offset, end=offset + length))
    except (OSError, ClientError) as error:
        message = f"{path}: cannot be read at byte {offset} ({getattr(error, 'strerror', None) or error})"
        raise UserError(message) from error


def read_bytes(path: str) -> bytes:
    """Read a whole file; raises UserError where it is not there."""
    with open_read(path) as stream:
        return stream.read()


def read_json(path: str) -> Any:  # noqa: ANN401 - JSON is anything
    """Read a JSON file; raises UserError where it is missing or no JSON."""
    try:
        return orjson.loads(read_bytes(path))
    except orjson.JSONDecodeError as error:
        message = f"{path}: no JSON ({error}); remove it and run the stage again"
        raise UserError(message) from error


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A finished file as manifests list it; `bytes` is its size."""

    name: str
    bytes: int
    sha256: str


class HashingWriter(io.RawIOBase):
    """Passes bytes on and hashes them, so that no finished file has to be read again for its manifest."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.position = 0

    def writable(self) -> bool:
        """Say yes: Arrow asks."""
        return True

    def tell(self) -> int:
        """Give the number of bytes written."""
        return self.position

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        """Write and hash."""
        view = memoryview(data).cast("B")
        self._stream.write(view)
        self._hash.update(view)
        self.position += len(view)
        return len(view)

    def hexdigest(self) -> str:
        """Give the sha256 of what was written."""
        return self._hash.hexdigest()


@contextmanager
def write_atomically(path: str) -> Iterator[HashingWriter]:
    """Write to a temporary name beside `path` and rename at the end; on an error nothing is left under `path`."""
    fs = filesystem(path)
    fs.makedirs(path.rpartition("/")[0] or ".", exist_ok=True)
    temporary = f"{path}.tmp-{uuid.uuid4().hex[:12]}"
    try:
        with fs.open(temporary, "wb") as stream:
            yield HashingWriter(stream)
        if isinstance(fs, LocalFileSystem):
            os.replace(temporary, path)  # noqa: PTH105 - fsspec's mv is no atomic replacement
        else:
            fs.mv(temporary, path)
    except BaseException:
        if fs.exists(temporary):
            fs.rm(temporary)
        raise


def written(path: str, writer: HashingWriter) -> WrittenFile:
    """Describe what a writer has written."""
    return WrittenFile(path.rpartition("/")[2], writer.position, writer.hexdigest())


def write_bytes(path: str, data: bytes) -> WrittenFile:
    """Write a small file atomically."""
    with write_atomically(path) as writer:
        writer.write(data)
    return written(path, writer)


def write_json(path: str, value: Any) -> WrittenFile:  # noqa: ANN401
    """Write a JSON file, indented, for people to read too."""
    return write_bytes(path, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n")


def write_records(path: str, records: Iterable[Any], record: type) -> WrittenFile:
    """Write records of one type as Parquet; the same records give the same bytes."""
    with write_atomically(path) as writer:
        pq.write_table(to_table(records, record), pa.PythonFile(writer, mode="w"), compression="zstd")
    return written(path, writer)


def read_records(path: str, record: type[Record]) -> Iterator[Record]:
    """Yield the records of a Parquet file of ours; raises UserError where it is no such file."""
    try:
        table = pq.read_table(pa.PythonFile(open_read(path), mode="r"), columns=arrow_schema(record).names)
    except (pa.ArrowException, OSError) as error:  # OSError is what pyarrow raises for damaged pages
        message = (
            f"{path}: not readable as {record.__name__} records ({str(error).splitlines()[0]}); run its stage again"
        )
        raise UserError(message) from error
    yield from from_table(table, record)


def remove_leftovers(folder: str) -> None:
    """Remove the temporary files that a killed run left under a folder."""
    for path in matches_below(folder, "**/*.tmp-*"):
        filesystem(path).rm(path)


def as_json(files: Iterable[WrittenFile]) -> list[dict[str, Any]]:
    """Give written files as a manifest lists them."""
    return [asdict(file) for file in files]
