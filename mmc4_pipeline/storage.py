"""Files on any storage that fsspec knows (local, s3://, gs://, hdfs://) and over HTTP. All access goes through here.

gs:// needs the package gcsfs, s3:// s3fs, hdfs:// Hadoop's libhdfs (webhdfs:// nothing).
"""

import glob
import hashlib
import io
import os
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any, BinaryIO, TypeVar

import fsspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from mmc4_pipeline.errors import PermanentReadError, UserError
from mmc4_pipeline.http_files import HttpFiles, HttpStream
from schemas.arrow import arrow_schema, from_table, to_table

Record = TypeVar("Record")
Answer = TypeVar("Answer")

# Ranges of a file that are read side by side: enough to hide a latency of 100 ms, few enough for any server.
RANGES_AT_ONCE = 8
RANGE_BYTES_AT_ONCE = 64 << 20


_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}


@cache
def _filesystem(protocol: str) -> fsspec.AbstractFileSystem:
    if protocol in HttpFiles.protocol:
        return HttpFiles()
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


def above(folder: str, levels: int) -> str:
    """Give the folder that lies so many levels above."""
    folder = os.path.abspath(fsspec.core.strip_protocol(folder)) if is_local(folder) else folder.rstrip("/")  # noqa: PTH100 - no links resolved
    return folder.rsplit("/", levels)[0] or "/"


def exists(path: str) -> bool:
    """Tell whether there is such a file or folder."""
    return bool(_read(path, lambda fs: fs.exists(path)))


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
    """Give a file's size in bytes; raises UserError where it can't be had."""
    return int(_read(path, lambda fs: fs.size(path)))


def modified(path: str) -> datetime:
    """Give when a file was written last; raises UserError where that can't be had."""
    moment: datetime = _read(path, lambda fs: fs.modified(path))
    return moment


def open_read(path: str) -> BinaryIO:
    """Open a file to read parts of it (a Parquet file's columns): over HTTP a part is a request.

    Raises PermanentReadError where it is not there, UserError where it can't be read.
    """
    return _read(path, lambda fs: _guarded(path, fs.open(path, "rb")))


def open_stream(path: str) -> BinaryIO:
    """Open a file to read it from its beginning to its end: over HTTP that is one request, resumed where it breaks.

    Seeking works, but each seek over HTTP asks anew. Raises as `open_read` does; so may each read.
    """
    return _read(
        path, lambda fs: fs.open_stream(path) if isinstance(fs, HttpFiles) else _guarded(path, fs.open(path, "rb"))
    )


def read_range(path: str, offset: int, length: int) -> bytes:
    """Read some bytes of a file, fewer where it ends before.

    Raises PermanentReadError where they can never be had, UserError where they can't be had now.
    """
    try:
        return bytes(_read(path, lambda fs: fs.cat_file(path, start=offset, end=offset + length)))
    except UserError as error:
        final = isinstance(error, PermanentReadError) or isinstance(filesystem(path), HttpFiles)
        if not final and offset >= size(path):
            return b""  # S3 calls a range past the end an error, each store in its own words
        raise


def read_ranges(path: str, ranges: Iterable[tuple[int, int]]) -> Iterator[bytes | PermanentReadError]:
    """Yield the bytes of each (offset, length), fewer where the file ends before, or why they can never be had.

    Ranges are ascending and don't overlap. A few are on their way at once, and never more than 64 MiB of them (or one).
    A server that ignores Range is read in one stream, no further than to the last range's end.
    Raises UserError where a range can't be had now.
    """
    todo = deque(ranges)
    if isinstance(filesystem(path), HttpFiles):
        with HttpStream(path) as stream:
            while todo:  # the first one alone: it shows whether the server honours Range
                offset, length = todo.popleft()
                outcome = _outcome(partial(_read, path, lambda _: stream.read_range(offset, offset + length)))  # noqa: B023 - called at once
                yield outcome
                if isinstance(outcome, PermanentReadError) and not exists(path):
                    yield from (outcome for _ in todo)
                    return
                if not stream.ignores_ranges:
                    break
    yield from _side_by_side(path, todo)


def _outcome(read: Callable[[], bytes]) -> bytes | PermanentReadError:
    try:
        return read()
    except PermanentReadError as error:
        return error


def _side_by_side(path: str, todo: deque[tuple[int, int]]) -> Iterator[bytes | PermanentReadError]:
    under_way: deque[tuple[int, Future[bytes]]] = deque()
    with ThreadPoolExecutor(RANGES_AT_ONCE) as pool:
        for offset, length in todo:
            while under_way and not _has_room([length, *(held for held, _ in under_way)]):
                yield _outcome(under_way.popleft()[1].result)
            under_way.append((length, pool.submit(read_range, path, offset, length)))
        yield from (_outcome(future.result) for _, future in under_way)


def _has_room(lengths: list[int]) -> bool:
    return len(lengths) <= RANGES_AT_ONCE and sum(lengths) <= RANGE_BYTES_AT_ONCE


def read_bytes(path: str) -> bytes:
    """Read a whole file; raises UserError where it is not there."""
    with open_stream(path) as stream:
        return stream.read()


def _read(path: str, ask: Callable[[fsspec.AbstractFileSystem], Answer]) -> Answer:
    """Ask a file system; what its package raises becomes an PermanentReadError or another UserError."""
    fs = filesystem(path)
    try:
        return ask(fs)
    except UserError:
        raise
    except Exception as error:  # each store's package has exceptions of its own
        raise _refusal(path, error) from error


class _Guarded(io.RawIOBase):
    """A file of another package whose errors become UserErrors while it is read, too."""

    def __init__(self, path: str, stream: BinaryIO) -> None:
        self._path, self._stream = path, stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = _read(self._path, lambda _: self._stream.read(len(view)))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _guarded(path: str, stream: BinaryIO) -> BinaryIO:
    """Wrap a file on remote storage; those over HTTP and local ones need it not."""
    fs = filesystem(path)
    return stream if isinstance(fs, HttpFiles | LocalFileSystem) else io.BufferedReader(_Guarded(path, stream))


def _refusal(path: str, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return PermanentReadError(f"{path}: cannot be read ({error.strerror or 'not found'})")
    why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    kind = PermanentReadError if isinstance(error, IsADirectoryError | NotADirectoryError) else UserError
    return kind(f"{path}: cannot be read ({why})")


def read_json(path: str) -> Any:
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

    def write(self, data: Any) -> int:
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
    """Write a file that is there whole or not at all; on an error `path` is as it was.

    Where a store can rename, that is a temporary name beside `path`, renamed at the end. An object store can't, but has
    an object only once it is uploaded: there the file is written on this machine first.
    """
    fs = filesystem(path)
    if fsspec.utils.get_protocol(path) in _OBJECT_STORES:
        with tempfile.TemporaryDirectory() as folder:
            local = f"{folder}/whole"
            with open(local, "wb") as stream:  # noqa: PTH123 - as fs.open below
                yield HashingWriter(stream)
            fs.put_file(local, path)
        return
    fs.makedirs(path.rpartition("/")[0] or ".", exist_ok=True)
    temporary = f"{path}.tmp-{uuid.uuid4().hex[:12]}"
    try:
        with fs.open(temporary, "wb") as stream:
            yield HashingWriter(stream)
        rename(temporary, path)
    except BaseException:
        if fs.exists(temporary):
            fs.rm(temporary)
        raise


def rename(path: str, to: str) -> None:
    """Give a file another name on the same storage, in place of what had that name; atomic where the store can."""
    fs = filesystem(to)
    fs.makedirs(to.rpartition("/")[0] or ".", exist_ok=True)
    if isinstance(fs, LocalFileSystem):
        os.replace(path, to)  # noqa: PTH105 - fsspec's mv is no atomic replacement
    else:
        if fs.exists(to):  # what a shard that was not finished left: HDFS renames to new names only
            fs.rm(to)
        fs.mv(path, to)


def written(path: str, writer: HashingWriter) -> WrittenFile:
    """Describe what a writer has written."""
    return WrittenFile(path.rpartition("/")[2], writer.position, writer.hexdigest())


def write_bytes(path: str, data: bytes) -> WrittenFile:
    """Write a small file atomically."""
    with write_atomically(path) as writer:
        writer.write(data)
    return written(path, writer)


def write_json(path: str, value: Any) -> WrittenFile:
    """Write a JSON file, indented, for people to read too."""
    return write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Give what `write_json` writes."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n"


def write_records(path: str, records: Iterable[Any], record: type) -> WrittenFile:
    """Write records of one type as Parquet; the same records give the same bytes."""
    with write_atomically(path) as writer:
        write_table(writer, records, record)
    return written(path, writer)


def write_table(writer: HashingWriter, records: Iterable[Any], record: type) -> None:
    """Write what `write_records` writes to an open file."""
    pq.write_table(to_table(records, record), pa.PythonFile(writer, mode="w"), compression="zstd")


def read_records(path: str, record: type[Record]) -> Iterator[Record]:
    """Yield the records of a Parquet file of ours; raises UserError where it is no such file."""
    try:
        table = pq.read_table(pa.PythonFile(open_read(path), mode="r"), columns=arrow_schema(record).names)
    except (pa.ArrowException, OSError) as error:  # OSError is what pyarrow raises for damaged pages
        message = (
            f"{path}: not readable as {record.__name__} records ({str(error).splitlines()[0]}); run its stage again"
        )
        raise UserError(message) from error
    try:
        yield from from_table(table, record)
    except KeyError as error:
        message = f"{path}: has no {error.args[0]}, an earlier version of mmc4-pipeline wrote it; run its stage again"
        raise UserError(message) from error


def distinct(path: str, column: str) -> set[str]:
    """Give the different values of a text column of a Parquet file of ours; nothing else of it is read."""
    with open_read(path) as stream:
        table = pq.read_table(pa.PythonFile(stream, mode="r"), columns=[column], read_dictionary=[column])
    return set(table[column].unique().to_pylist())


def remove(path: str) -> None:
    """Remove a file."""
    filesystem(path).rm(path)


def remove_leftovers(folder: str) -> None:
    """Remove the temporary files that a killed run left under a folder."""
    for path in matches_below(folder, "**/*.tmp-*"):
        filesystem(path).rm(path)


def remove_folder(folder: str) -> None:
    """Remove a folder with all that is in it, if it is there."""
    fs = filesystem(folder)
    if fs.exists(folder):
        fs.rm(folder, recursive=True)


def as_json(files: Iterable[WrittenFile]) -> list[dict[str, Any]]:
    """Give written files as a manifest lists them."""
    return [asdict(file) for file in files]
