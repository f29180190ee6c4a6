"""Read JSON lines that anybody may have written: plain, gzip, zstd or zip, each within bounds."""

import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa

from mmc4_pipeline.documents.rows import as_object, decompressed
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage import Inputs

MAX_LINE = 64 << 20  # bytes; the largest documents of MMC4 have a tenth of it, most of it their matrix
_MAX_EXPANSION = 200  # bytes per compressed byte; MMC4's files have 5
_ALWAYS_ALLOWED = 64 << 20  # bytes: a small file may be compressed better
_BUFFER, _SMALL_BUFFER = 1 << 20, 1 << 16  # of a whole file, and of the beginning of one
_FIRST_BYTES = 2 << 20  # of a file, as it is stored, of which only the first rows are wanted
_COMPRESSED = (".gz", ".zst", ".zip")
# What is raised for damaged files; zipfile has no exception of its own for impossible numbers and names.
_UNREADABLE = (
    *(EOFError, OSError, OverflowError, ValueError, NotImplementedError),
    *(zlib.error, zipfile.BadZipFile, lzma.LZMAError),
)

_MAX_DIRECTORY = 1 << 20  # bytes of the list of a zip file's members: ten thousand of them


def rows_of_lines(inputs: Inputs, path: str, *, whole: bool = True) -> Iterator[dict[str, Any] | str]:
    """Return the JSON object in each line, or why there is none.

    With `whole`, a file on a web server is read with one request, otherwise piece by piece. Raises UserError if the
    file is truncated or corrupt (the message has the last line that could be read), or expands without bounds.
    """
    return (row for row, _ in _rows(inputs, path, whole=whole))


def first_rows(inputs: Inputs, path: str, number: int) -> tuple[list[dict[str, Any] | str], float]:
    """Return the first rows, fewer than `number` if they take many bytes, and about which share of the file they are.

    Raises UserError as `rows_of_lines` does.
    """
    rows: list[dict[str, Any] | str] = []
    for row, raw in _rows(inputs, path, whole=False):
        rows.append(row)
        if len(rows) == number or raw.tell() > _FIRST_BYTES:
            return rows, min(1.0, raw.tell() / inputs.size(path))
    return rows, 1.0


def _rows(inputs: Inputs, path: str, *, whole: bool) -> Iterator[tuple[dict[str, Any] | str, BinaryIO]]:
    """Yield each row with the open file, of which a little more may have been read."""
    number = 0
    try:
        with _content(inputs, path, whole=whole) as (content, raw):
            while line := content.readline(MAX_LINE + 1):
                yield _row(line, content), raw
                number += 1
    except (*_UNREADABLE, pa.ArrowException) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: truncated or corrupt after line {number} ({why}); download it again") from error


def _row(line: bytes, content: BinaryIO | io.BufferedIOBase) -> dict[str, Any] | str:
    if len(line) > MAX_LINE and not line.endswith(b"\n"):
        while line and not line.endswith(b"\n"):
            line = content.readline(_BUFFER)
        return f"the line has more than {MAX_LINE:,} bytes"
    row = as_object(line)
    return row if isinstance(row, dict | str) else "not a JSON object"


@contextmanager
def _content(inputs: Inputs, path: str, *, whole: bool) -> Iterator[tuple[io.BufferedIOBase, BinaryIO]]:
    """Open a file; give its content and the file itself."""
    is_zip = path.endswith(".zip")
    open_file = inputs.open_stream if whole and not is_zip else inputs.open_beginning
    bound = _ALWAYS_ALLOWED + _MAX_EXPANSION * inputs.size(path) if path.endswith(_COMPRESSED) else None
    with open_file(path) as raw, _unpacked(path, raw) as stream:
        yield io.BufferedReader(_Bounded(path, stream, bound), _BUFFER if whole else _SMALL_BUFFER), raw


@contextmanager
def _unpacked(path: str, raw: BinaryIO) -> Iterator[Any]:
    if not path.endswith(".zip"):
        with decompressed(path, raw) as stream:
            yield stream
        return
    with zipfile.ZipFile(_Archive(path, raw)) as archive:
        yield _Members(archive)


class _Archive(io.RawIOBase):
    """A zip file of any size; raises UserError if zipfile, which reads the list of members at once, finds it too long.

    No other part of the file is read in pieces as large.
    """

    def __init__(self, path: str, raw: BinaryIO) -> None:
        self._path, self._raw = path, raw
        self._size = raw.seek(0, io.SEEK_END)

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._raw.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._raw.seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        remaining = max(0, self._size - self._raw.tell())
        size = remaining if size is None or size < 0 else min(size, remaining)
        if size > _MAX_DIRECTORY:
            raise UserError(f"{self._path}: a zip file with thousands of members is not read; unpack it first")
        return self._raw.read(size)


class _Members(io.RawIOBase):
    """The members of a zip file, one after the other."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = iter([name for name in archive.namelist() if not name.endswith("/") and "__MACOSX/" not in name])
        self._member: Any = None

    def read(self, size: int | None = -1, /) -> bytes:
        while True:
            data: bytes = self._member.read(size) if self._member else b""
            if data:
                return data
            name = next(self._names, None)
            if name is None:
                return b""
            try:
                self._member = self._archive.open(name)
            except RuntimeError as error:  # it is encrypted
                raise zipfile.BadZipFile(str(error)) from error


class _Bounded(io.RawIOBase):
    """A stream of at most `bound` bytes; reading more raises UserError."""

    def __init__(self, path: str, stream: Any, bound: int | None) -> None:
        self._path, self._stream, self._bound = path, stream, bound
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._stream.read(len(view))
        view[: len(data)] = data
        self._read += len(data)
        if self._bound is not None and self._read > self._bound:
            raise UserError(
                f"{self._path}: expands to more than {_MAX_EXPANSION} times its size, which no published file does; "
                "leave it out"
            )
        return len(data)
