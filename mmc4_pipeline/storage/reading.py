"""Find and read files on any file system that fsspec supports, and over HTTP."""

import glob
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from mmc4_pipeline.errors import PermanentReadError, UserError
from mmc4_pipeline.storage.http.files import HttpFiles, HttpStream
from mmc4_pipeline.storage.paths import filesystem as filesystem_of
from mmc4_pipeline.storage.paths import is_over_http, join

Result = TypeVar("Result")

# Ranges of a file that are read concurrently: enough to hide a latency of 100 ms, few enough for any server.
_CONCURRENT_RANGES = 8
_CONCURRENT_BYTES = 64 << 20


def _filesystem(path: str) -> fsspec.AbstractFileSystem:
    return HttpFiles() if is_over_http(path) else filesystem_of(path)


def exists(path: str) -> bool:
    """Return whether a file or folder exists."""
    return bool(_call(path, lambda fs: fs.exists(path)))


def matches(pattern: str) -> list[str]:
    """Return the files that match a glob pattern, sorted, in the form in which the pattern was given."""
    fs = _filesystem(pattern)
    found = sorted(str(path) for path in fs.glob(pattern))
    if isinstance(fs, LocalFileSystem):
        return [os.path.relpath(path) if not pattern.startswith("/") else path for path in found]
    return [str(fs.unstrip_protocol(path)) for path in found]


def matches_below(folder: str, pattern: str) -> list[str]:
    """Return the files below a folder that match a glob pattern. The folder's own name is not a pattern ("out [1]")."""
    return matches(join(glob.escape(folder), pattern))


def size(path: str) -> int:
    """Return a file's size in bytes; raises UserError if that cannot be determined."""
    return int(_call(path, lambda fs: fs.size(path)))


def modified(path: str) -> datetime:
    """Return when a file was last written; raises UserError if that cannot be determined."""
    moment: datetime = _call(path, lambda fs: fs.modified(path))
    return moment


def open_read(path: str) -> BinaryIO:
    """Open a file to read parts of it, such as a Parquet file's columns: over HTTP each part is a request.

    Raises PermanentReadError if the file does not exist, UserError if it cannot be read.
    """
    return _call(path, lambda fs: _guarded(path, fs.open(path, "rb")))


def open_stream(path: str) -> BinaryIO:
    """Open a file to read it from beginning to end: over HTTP that is one request, resumed wherever it breaks.

    Seeking works, but each seek over HTTP is another request. Raises the same errors as `open_read`; so may each read.
    """
    return _call(
        path, lambda fs: fs.open_stream(path) if isinstance(fs, HttpFiles) else _guarded(path, fs.open(path, "rb"))
    )


def read_bytes(path: str) -> bytes:
    """Read a whole file; raises UserError if it does not exist."""
    with open_stream(path) as stream:
        return stream.read()


def read_range(path: str, offset: int, length: int) -> bytes:
    """Read some bytes of a file, fewer if the file ends earlier.

    Raises PermanentReadError if they can never be read, UserError if they cannot be read now.
    """
    try:
        return bytes(_call(path, lambda fs: fs.cat_file(path, start=offset, end=offset + length)))
    except UserError as error:
        final = isinstance(error, PermanentReadError) or isinstance(_filesystem(path), HttpFiles)
        if not final and offset >= size(path):
            return b""  # a range past the end is an error on S3, and each store reports it in its own words
        raise


def read_ranges(path: str, ranges: Iterable[tuple[int, int]]) -> Iterator[bytes | PermanentReadError]:
    """Yield the bytes of each (offset, length), fewer if the file ends earlier, or why they can never be read.

    Ranges are ascending and do not overlap. A few are read concurrently, never more than 64 MiB (or one range).
    A server that ignores Range is read in one stream, no further than to the end of the last range.
    Raises UserError if a range cannot be read now.
    """
    todo = deque(ranges)
    if isinstance(_filesystem(path), HttpFiles):
        with HttpStream(path) as stream:
            while todo:  # the first one alone: it shows whether the server honours Range
                offset, length = todo.popleft()
                outcome = _outcome(partial(_read_stream, path, stream, offset, length))
                yield outcome
                if isinstance(outcome, PermanentReadError) and not exists(path):
                    yield from (outcome for _ in todo)
                    return
                if not stream.ignores_ranges:
                    break
    yield from _concurrently(path, todo)


def _read_stream(path: str, stream: HttpStream, offset: int, length: int) -> bytes:
    return _call(path, lambda _: stream.read_range(offset, offset + length))


def _outcome(read: Callable[[], bytes]) -> bytes | PermanentReadError:
    try:
        return read()
    except PermanentReadError as error:
        return error


def _concurrently(path: str, todo: deque[tuple[int, int]]) -> Iterator[bytes | PermanentReadError]:
    running: deque[tuple[int, Future[bytes]]] = deque()
    with ThreadPoolExecutor(_CONCURRENT_RANGES) as pool:
        for offset, length in todo:
            while running and not _within_limits([length, *(begun for begun, _ in running)]):
                yield _outcome(running.popleft()[1].result)
            running.append((length, pool.submit(read_range, path, offset, length)))
        yield from (_outcome(future.result) for _, future in running)


def _within_limits(lengths: list[int]) -> bool:
    return len(lengths) <= _CONCURRENT_RANGES and sum(lengths) <= _CONCURRENT_BYTES


def _call(path: str, operation: Callable[[fsspec.AbstractFileSystem], Result]) -> Result:
    """Call a file system; the errors of its package become PermanentReadErrors or other UserErrors."""
    fs = _filesystem(path)
    try:
        return operation(fs)
    except UserError:
        raise
    except Exception as error:  # the package of each store raises its own exceptions
        raise _as_user_error(path, error) from error


def _as_user_error(path: str, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return PermanentReadError(f"{path}: cannot be read ({error.strerror or 'not found'})")
    why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    kind = PermanentReadError if isinstance(error, IsADirectoryError | NotADirectoryError) else UserError
    return kind(f"{path}: cannot be read ({why})")


class _Guarded(io.RawIOBase):
    """A file opened by another package, whose errors while reading become UserErrors too."""

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
        data = _call(self._path, lambda _: self._stream.read(len(view)))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _guarded(path: str, stream: BinaryIO) -> BinaryIO:
    """Wrap a file on remote storage; files over HTTP and local files raise suitable errors already."""
    fs = _filesystem(path)
    return stream if isinstance(fs, HttpFiles | LocalFileSystem) else io.BufferedReader(_Guarded(path, stream))
