"""Find and read files: the run's own on file systems, its input (`Inputs`) over HTTP too."""

import glob
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, BinaryIO, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from mmc4_pipeline.errors import PermanentReadError, UserError
from mmc4_pipeline.storage.http.client import HttpSettings, client_for
from mmc4_pipeline.storage.http.files import HttpFiles, HttpStream
from mmc4_pipeline.storage.paths import (
    CONCURRENT_FILES,
    filesystem,
    in_one_request,
    is_local,
    is_on_hub,
    is_over_http,
    join,
)
from mmc4_pipeline.storage.persistent import persistently
from mmc4_pipeline.storage.range_stream import RangeStream

Item = TypeVar("Item")
Result = TypeVar("Result")

# Ranges of a file that are read concurrently: enough to hide a latency of 100 ms, few enough for any server.
_CONCURRENT_RANGES = 8
_CONCURRENT_BYTES = 64 << 20
_TRIES_BEFORE_A_RUN = 3  # of requesting names and sizes of files from the Hub; its package sends several per try


class FileSystems:
    """Finds and reads files on any file system that fsspec supports. Refuses HTTP, which needs `Inputs`."""

    def _filesystem(self, path: str) -> fsspec.AbstractFileSystem:
        return filesystem(path)

    def exists(self, path: str) -> bool:
        """Return whether a file or folder exists."""
        fs = self._filesystem(path)
        return bool(_reporting(path, lambda: fs.exists(path)))

    def matches(self, pattern: str) -> list[str]:
        """Return the files that match a glob pattern, sorted, in the form in which the pattern was given."""
        fs = self._filesystem(pattern)
        found = sorted(str(path) for path in _reporting(pattern, lambda: _glob(fs, pattern)))
        if isinstance(fs, LocalFileSystem):
            return [os.path.relpath(path) if not pattern.startswith("/") else path for path in found]
        return [str(fs.unstrip_protocol(path)) for path in found]

    def matches_of(self, option: str, patterns: Iterable[str]) -> list[str]:
        """Return the files that match the patterns of an option, sorted; UserError for a pattern without a match."""
        found: set[str] = set()
        for pattern in patterns:
            files = self.matches(pattern)
            if not files:
                raise UserError(f"{option} {pattern}: no such file; give a file, or a glob pattern in quotes")
            found.update(files)
        return sorted(found)

    def matches_below(self, folder: str, pattern: str) -> list[str]:
        """Return the files below a folder that match a glob pattern; the folder's own name is not one ("out [1]")."""
        return self.matches(join(glob.escape(folder), pattern))

    def names_below(self, folder: str, pattern: str) -> list[str]:
        """Return the same files by their paths below the folder; the pattern has no `**`."""
        levels = pattern.count("/") + 1
        return ["/".join(path.split("/")[-levels:]) for path in self.matches_below(folder, pattern)]

    def size(self, path: str) -> int:
        """Return a file's size in bytes; raises UserError if that cannot be determined."""
        fs = self._filesystem(path)
        return int(_reporting(path, lambda: fs.size(path)))

    def modified_below(self, folder: str, pattern: str) -> dict[str, datetime]:
        """Return when each file below a folder that matches a glob pattern was last written, by its listed path.

        Most stores say so when they list files; the others are asked file by file. Raises UserError if one cannot say.
        """
        fs = self._filesystem(folder)
        found = fs.glob(join(glob.escape(folder), pattern), detail=True)

        def moment(path: str) -> datetime:
            known = found[path].get("LastModified", found[path].get("mtime"))
            if isinstance(known, float):
                return datetime.fromtimestamp(known, UTC)
            return known if isinstance(known, datetime) else _reporting(path, lambda: fs.modified(path))

        return for_each(found, moment)

    def open_read(self, path: str) -> BinaryIO:
        """Open a file to read parts of it, such as a Parquet file's columns: over HTTP each part is a request.

        Raises PermanentReadError if the file does not exist, UserError if it cannot be read.
        """
        fs = self._filesystem(path)
        stream: BinaryIO = _reporting(path, lambda: fs.open(path, "rb"))
        if isinstance(fs, HttpFiles | LocalFileSystem):  # their errors are reported well already
            return stream
        return io.BufferedReader(_Reporting(path, stream))

    def open_stream(self, path: str) -> BinaryIO:
        """Open a file to read it from beginning to end: over HTTP that is one request, resumed wherever it breaks.

        Seeking works, but each seek over HTTP is another request. Raises the same errors as `open_read`, and each read
        may raise them too.
        """
        return self.open_read(path)

    def read_bytes(self, path: str) -> bytes:
        """Read a whole file, on an object store with one request; raises UserError if it does not exist."""
        fs = self._filesystem(path)
        if isinstance(fs, HttpFiles | LocalFileSystem):
            with self.open_stream(path) as stream:
                return stream.read()
        return bytes(_reporting(path, lambda: fs.cat_file(path, **in_one_request(path))))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Read some bytes of a file, fewer if the file ends earlier.

        Raises PermanentReadError if they can never be read, UserError if they cannot be read now.
        """
        fs = self._filesystem(path)
        try:
            return bytes(_reporting(path, lambda: fs.cat_file(path, start=offset, end=offset + length)))
        except UserError as error:
            final = isinstance(error, PermanentReadError) or isinstance(fs, HttpFiles)
            if not final and offset >= self.size(path):
                return b""  # a range past the end is an error on S3, and each store reports it in its own words
            raise

    def read_ranges(self, path: str, ranges: Iterable[tuple[int, int]]) -> Iterator[bytes | PermanentReadError]:
        """Yield the bytes of each (offset, length), fewer if the file ends earlier, or why they can never be read.

        Ranges are ascending and do not overlap. A few are read concurrently, never more than 64 MiB (or one range).
        Raises UserError if a range cannot be read now.
        """
        running: deque[tuple[int, Future[bytes]]] = deque()
        with ThreadPoolExecutor(_CONCURRENT_RANGES) as pool:
            for offset, length in ranges:
                while running and not _within_limits([length, *(begun for begun, _ in running)]):
                    yield _outcome(running.popleft()[1].result)
                running.append((length, pool.submit(self.read_range, path, offset, length)))
            yield from (_outcome(future.result) for _, future in running)


@dataclass(frozen=True)
class Inputs(FileSystems):
    """Finds and reads files from outside the run, on file systems or over HTTP with the user's settings.

    Common Crawl, C4, WARC files, image shards and the lists that filters read are inputs. Workers get a copy of it.
    """

    http: HttpSettings

    def _filesystem(self, path: str) -> fsspec.AbstractFileSystem:
        return HttpFiles(client_for(self.http)) if is_over_http(path) else super()._filesystem(path)

    def matches(self, pattern: str) -> list[str]:
        """Return the files that match a glob pattern: see FileSystems."""
        find = partial(super().matches, pattern)
        return persistently(find, self._few_tries) if is_on_hub(pattern) else find()

    def size(self, path: str) -> int:
        """Return a file's size in bytes: see FileSystems."""
        find = partial(super().size, path)
        return persistently(find, self._few_tries) if is_on_hub(path) else find()

    @property
    def _few_tries(self) -> HttpSettings:
        """Return the settings for what is asked before a run: if the Hub can't be reached, its user waits for that."""
        return replace(self.http, tries=min(self.http.tries, _TRIES_BEFORE_A_RUN))

    def open_stream(self, path: str) -> BinaryIO:
        """Open a file to read it from beginning to end, over HTTP with one request: see FileSystems."""
        fs = self._filesystem(path)
        if isinstance(fs, HttpFiles):
            return _reporting(path, lambda: fs.open_stream(path))
        return super().open_stream(path)

    def open_read(self, path: str) -> BinaryIO:
        """Open a file to read parts of it: see FileSystems."""
        return self.open_beginning(path) if is_on_hub(path) else super().open_read(path)

    def open_beginning(self, path: str) -> BinaryIO:
        """Open a file to read only its beginning, in order: over HTTP and in stores little more than that is sent."""
        if is_local(path):
            return self.open_read(path)
        read = self._hub_reader(path) if is_on_hub(path) else partial(self.read_range, path)
        return io.BufferedReader(RangeStream(read, partial(self.size, path)))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Read some bytes of a file: see FileSystems."""
        return self._hub_reader(path)(offset, length) if is_on_hub(path) else super().read_range(path, offset, length)

    def _hub_reader(self, path: str) -> Callable[[int, int], bytes]:
        """Return what reads (offset, length) of a file on the Hub with one request, and more if it breaks."""
        fs = self._filesystem(path)
        file: BinaryIO = _reporting(path, lambda: fs.open(path, "rb", cache_type="none"))

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        return lambda offset, length: persistently(lambda: _reporting(path, lambda: read(offset, length)), self.http)

    def read_ranges(self, path: str, ranges: Iterable[tuple[int, int]]) -> Iterator[bytes | PermanentReadError]:
        """Yield the bytes of each (offset, length), or why they can never be read: see FileSystems.

        An HTTP server that ignores Range is read in one stream, no further than to the end of the last range.
        """
        todo = deque(ranges)
        if is_over_http(path):
            with HttpStream(client_for(self.http), path) as stream:
                while todo:  # the first one alone: it shows whether the server honours Range
                    offset, length = todo.popleft()
                    read = partial(stream.read_range, offset, offset + length)
                    outcome = _outcome(partial(_reporting, path, read))
                    yield outcome
                    if isinstance(outcome, PermanentReadError) and not self.exists(path):
                        yield from (outcome for _ in todo)
                        return
                    if not stream.ignores_ranges:
                        break
        yield from super().read_ranges(path, todo)


def for_each(paths: Iterable[str], inspect: Callable[[str], Result]) -> dict[str, Result]:
    """Inspect files, several concurrently, and return the results by path."""
    listed = list(paths)
    return dict(zip(listed, concurrently(inspect, listed), strict=True))


def concurrently(
    function: Callable[[Item], Result], items: Iterable[Item], at_once: int = CONCURRENT_FILES
) -> Iterator[Result]:
    """Yield the result for each item, in order; `at_once` of them are computed concurrently, in threads.

    At most twice as many results are in memory, however slow the caller is. Raises what the function raises.
    """
    pool, running = ThreadPoolExecutor(at_once), deque[Future[Result]]()
    try:
        for item in items:
            if len(running) == 2 * at_once:
                yield running.popleft().result()
            running.append(pool.submit(function, item))
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _glob(fs: fsspec.AbstractFileSystem, pattern: str) -> list[str]:
    try:
        return list(fs.glob(pattern))
    except FileNotFoundError:  # what hf:// raises if a folder does not exist
        return []


def _outcome(read: Callable[[], bytes]) -> bytes | PermanentReadError:
    try:
        return read()
    except PermanentReadError as error:
        return error


def _within_limits(lengths: list[int]) -> bool:
    return len(lengths) <= _CONCURRENT_RANGES and sum(lengths) <= _CONCURRENT_BYTES


def _reporting(path: str, operation: Callable[[], Result]) -> Result:
    """Run an operation on a file and turn the errors of its package into PermanentReadErrors or other UserErrors."""
    try:
        return operation()
    except UserError:
        raise
    except Exception as error:  # the package of each store raises its own exceptions
        raise _as_user_error(path, error) from error


def _as_user_error(path: str, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return PermanentReadError(f"{path}: cannot be read ({error.strerror or 'not found'})")
    first_line = str(error).partition("\n")[0]
    why = getattr(error, "strerror", None) or f"{type(error).__name__}: {first_line}"
    kind = PermanentReadError if isinstance(error, IsADirectoryError | NotADirectoryError) else UserError
    return kind(f"{path}: cannot be read ({why})")


class _Reporting(io.RawIOBase):
    """A file on remote storage whose errors while reading become UserErrors too."""

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
        data = _reporting(self._path, lambda: self._stream.read(len(view)))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


_FILE_SYSTEMS = FileSystems()
exists = _FILE_SYSTEMS.exists
matches = _FILE_SYSTEMS.matches
matches_below = _FILE_SYSTEMS.matches_below
names_below = _FILE_SYSTEMS.names_below
modified_below = _FILE_SYSTEMS.modified_below
open_read = _FILE_SYSTEMS.open_read
open_stream = _FILE_SYSTEMS.open_stream
read_bytes = _FILE_SYSTEMS.read_bytes
read_range = _FILE_SYSTEMS.read_range
read_ranges = _FILE_SYSTEMS.read_ranges
size = _FILE_SYSTEMS.size
