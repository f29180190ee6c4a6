"""Files over HTTP: whole ones as one stream that goes on where it broke, and parts of them by Range."""

import http.client
import io
import re
import time
from typing import Any, BinaryIO

import requests
import urllib3
from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from mmc4_pipeline.errors import PermanentReadError, UserError
from mmc4_pipeline.storage.http.client import BYTES_OF_A_REQUEST, HttpClient, RetryableError, RetryState, client

_BLOCK = 256 << 10  # bytes that random access reads ahead: little beside a column chunk, and a Parquet footer fits
_STREAM_BUFFER = 1 << 20
_SLOWEST = 1024  # bytes a second; a connection that gives less for as long as the timeout counts as stalled
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)$")
_PAST_THE_END = re.compile(r"bytes \*/(\d+)$")


class HttpStream(io.RawIOBase):
    """A file over HTTP. Read in order it is one request, and one more by Range wherever the connection broke.

    A seek elsewhere asks anew from there. A server that ignores Range (and sends the whole file) is read on to where
    the bytes are. Reads raise FileNotFoundError (404), PermanentReadError for bytes that were not asked for, UserError
    where the server stays busy or refuses.
    """

    def __init__(self, url: str, asking: HttpClient | None = None) -> None:
        self._url = url
        self._client = asking or client()
        self._patience = RetryState(self._client, url)
        self._position = 0  # of the next byte that the reader wants
        self._stop: int | None = None  # where the reader wants no more; None: the file's end
        self._response: requests.Response | None = None
        self._at = 0  # position of the next byte that the response gives
        self._until: int | None = None  # where the response ends; None: not said
        self._size: int | None = None
        self._version: str | None = None
        self._received = 0  # bytes of the response
        self._waited = 0.0  # seconds that they took to come; what the reader does in between is not counted
        self.ignores_ranges = False

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Give the position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere. Nothing is asked for before the next read, but for the size where the end is meant."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        self._position = max(0, offset + (self.size() if base is None else base))
        return self._position

    def size(self) -> int:
        """Give the file's size in bytes; raises UserError where the server does not say it."""
        if self._size is None:
            before = self._position
            self.read_range(0, 1)
            self._position, self._stop = before, None
        if self._size is None:
            message = f"{self._url}: the server does not say how large the file is; download it first"
            raise UserError(message)
        return self._size

    def read_range(self, start: int, end: int) -> bytes:
        """Read the bytes from `start` up to `end`, fewer where the file ends before; the next range may follow."""
        self._position, self._stop = start, end
        buffer = bytearray(end - start)
        view, filled = memoryview(buffer), 0
        while filled < len(buffer) and (count := self.readinto(view[filled:])):
            filled += count
        self._stop = None
        return bytes(view[:filled])

    def readinto(self, buffer: Any) -> int:
        """Read some bytes, at least one before the end."""
        view = memoryview(buffer).cast("B")
        wanted = len(view) if self._stop is None else min(len(view), self._stop - self._position)
        while wanted > 0 and (self._size is None or self._position < self._size):
            try:
                data = self._receive(wanted) if self._reach() else b""
            except RetryableError as trouble:
                self._hang_up()
                self._patience.bear(trouble)
                continue
            view[: len(data)] = data
            self._position += len(data)
            if data:
                return len(data)
        return 0

    def close(self) -> None:
        """Hang up."""
        self._hang_up()
        super().close()

    def _reach(self) -> bool:
        """Have a response whose next byte is the wanted one; False where the file ends before."""
        gap = self._position - self._at
        near = gap >= 0 and (self.ignores_ranges or gap <= BYTES_OF_A_REQUEST)
        if self._response is None or not near or (self._until is not None and self._position >= self._until):
            self._hang_up()
            self._ask()
        if self._size is not None and self._position >= self._size:
            self._hang_up()
        while self._response is not None and self._at < self._position:
            self._receive(min(self._position - self._at, 1 << 16))
        return self._response is not None

    def _ask(self) -> None:
        first, last = self._position, "" if self._stop is None else self._stop - 1
        whole = first == 0 and self._stop is None
        response = self._client.get(self._url, {} if whole else {"Range": f"bytes={first}-{last}"})
        if response.status_code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            response.close()
            self._note_end(response.headers.get("Content-Range", ""))
            return
        if response.status_code == http.client.PARTIAL_CONTENT:
            self._at, self._until, size = self._check_range(response)
        else:
            self.ignores_ranges = not whole
            length = response.headers.get("Content-Length", "")
            self._at, self._until = 0, int(length) if length.isdecimal() else None
            size = self._until
        self._check_version(response, size)
        self._response, self._received, self._waited = response, 0, 0.0

    def _note_end(self, content_range: str) -> None:
        """Take from a 416 where the file ends."""
        said = _PAST_THE_END.match(content_range)
        size = int(said.group(1)) if said else self._size or self._position
        if size > self._position:
            message = f"{self._url}: HTTP 416 for byte {self._position} of {size}"
            raise PermanentReadError(message)
        self._size = size

    def _check_range(self, response: requests.Response) -> tuple[int, int, int | None]:
        """Return first byte, end and file size of a partial response; raises PermanentReadError for another part."""
        header = response.headers.get("Content-Range", "")
        said = _CONTENT_RANGE.match(header)
        first, last = (int(said.group(1)), int(said.group(2))) if said else (-1, -1)
        size = int(said.group(3)) if said and said.group(3) != "*" else None
        beyond = self._stop is not None and last >= self._stop
        if first != self._position or last < first or beyond or (size is not None and last >= size):
            response.close()
            message = f"{self._url}: asked for bytes from {self._position} to {self._stop}, answered {header!r}"
            raise PermanentReadError(message)
        return first, last + 1, size

    def _check_version(self, response: requests.Response, size: int | None) -> None:
        """Note size and version of the file; raises UserError where they are no longer what they were."""
        seen = response.headers.get("ETag") or response.headers.get("Last-Modified")
        changed = size is not None and self._size is not None and size != self._size
        if changed or (seen and self._version and seen != self._version):
            response.close()
            message = f"{self._url}: changed while it was read; continue with --resume once it stays as it is"
            raise UserError(message)
        self._size = self._size if size is None else size
        self._version = self._version or seen

    def _receive(self, count: int) -> bytes:
        """Take some of the next bytes of the response; none at the end of one that did not say its length."""
        if self._response is None:
            return b""
        if self._waited > self._client.settings.timeout and self._received < self._waited * _SLOWEST:
            why = f"no more than {self._received} bytes came in {self._waited:.0f} s"
            raise RetryableError(why)
        started = time.monotonic()
        try:
            data = bytes(self._response.raw.read1(count, decode_content=False) or b"")
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            why = f"the answer broke off at byte {self._at}: {error}"
            raise RetryableError(why) from error
        self._waited += time.monotonic() - started
        if not data:
            if self._until is not None:
                why = f"the answer ended at byte {self._at}, not {self._until}"
                raise RetryableError(why)
            self._size = self._at
            self._hang_up()
        self._at += len(data)
        self._received += len(data)
        self._patience.received(len(data))
        return data

    def _hang_up(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


class HttpFiles(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """Files over HTTP in fsspec's terms, read only. Its own one has no retries, no limit and believes any answer."""

    protocol = ("http", "https")
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Describe a file; raises FileNotFoundError."""
        with HttpStream(path) as stream:
            return {"name": path, "size": stream.size(), "type": "file"}

    def exists(self, path: str, **_: Any) -> bool:
        """Tell whether there is such a file; a busy server is no "no"."""
        try:
            with HttpStream(path) as stream:
                stream.read_range(0, 1)
        except FileNotFoundError:
            return False
        return True

    def glob(self, path: str, **_: Any) -> list[str]:
        """Give a file by its name; HTTP has no folders to search. A ? begins a query here."""
        if any(sign in path for sign in "*["):
            message = f"{path}: over HTTP no files can be searched for; give their names"
            raise UserError(message)
        return [path] if self.exists(path) else []

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Read a part of a file, or all of it."""
        with HttpStream(path) as stream:
            if end is not None:
                return stream.read_range(start or 0, end)
            stream.seek(start or 0)
            return stream.read()

    def open_stream(self, path: str) -> BinaryIO:
        """Open a file to be read in order; the first request tells whether it is there."""
        stream = io.BufferedReader(HttpStream(path), _STREAM_BUFFER)
        stream.peek(1)
        return stream

    def _open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        if mode != "rb":
            message = f"{path}: over HTTP nothing can be written; give a local folder, s3:// or gs://"
            raise UserError(message)
        return AbstractBufferedFile(self, path, mode, _BLOCK, cache_type="readahead")  # type: ignore[no-any-return]
