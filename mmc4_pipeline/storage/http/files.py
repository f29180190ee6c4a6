"""Read files over HTTP: whole files as one stream that resumes where it broke, and parts of files by Range."""

import http.client
import io
import re
import time
from http import HTTPStatus
from typing import Any, BinaryIO

import requests
import urllib3
from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from mmc4_pipeline.errors import PermanentReadError, UserError
from mmc4_pipeline.storage.http.client import BYTES_OF_A_REQUEST, HttpClient, RetryableError, RetryState
from mmc4_pipeline.storage.seekable import SeekableStream

_BLOCK = 256 << 10  # bytes that random access reads ahead: small against a column chunk, and a Parquet footer fits
_STREAM_BUFFER = 1 << 20
_SLOWEST = 1024  # bytes per second; a connection that is slower for as long as the timeout counts as stalled
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)$")
_PAST_THE_END = re.compile(r"bytes \*/(\d+)$")


class HttpStream(SeekableStream):
    """A file over HTTP. Reading it in order is one request, and one more by Range each time the connection breaks.

    After a seek, another request starts there. If a server ignores Range and sends the whole file, the bytes before
    the wanted ones are read and discarded. Reads raise FileNotFoundError (404), PermanentReadError if other bytes than
    the requested ones arrive, and UserError if the server stays busy or refuses.
    """

    def __init__(self, client: HttpClient, url: str) -> None:
        self._client, self._url = client, url
        self._retries = RetryState(client, url)
        self._stop: int | None = None  # where the reader's range ends; None: at the end of the file
        self._response: requests.Response | None = None
        self._response_position = 0  # of the next byte in the response
        self._response_end: int | None = None  # position at which the response ends; None: unknown
        self._size: int | None = None
        self._version: str | None = None
        self._received = 0  # bytes of the response
        self._waited = 0.0  # seconds spent waiting for them; time that the reader spends in between is not counted
        self.ignores_ranges = False

    def size(self) -> int:
        """Return the file's size in bytes; raises UserError if the server does not report it."""
        if self._size is None:
            before = self._position
            self.read_range(0, 1)
            self._position, self._stop = before, None
        if self._size is None:
            raise UserError(f"{self._url}: the server does not report the file's size; download it first")
        return self._size

    def read_range(self, start: int, end: int) -> bytes:
        """Read the bytes from `start` up to `end`, fewer if the file ends earlier; the next range may follow."""
        self._position, self._stop = start, end
        buffer = bytearray(end - start)
        view, filled = memoryview(buffer), 0
        while filled < len(buffer) and (count := self.readinto(view[filled:])):
            filled += count
        self._stop = None
        return bytes(view[:filled])

    def readinto(self, buffer: Any) -> int:
        """Read some bytes; 0 only at the end of the file or range."""
        view = memoryview(buffer).cast("B")
        wanted = len(view) if self._stop is None else min(len(view), self._stop - self._position)
        while wanted > 0 and (self._size is None or self._position < self._size):
            try:
                data = self._receive(wanted) if self._reach() else b""
            except RetryableError as error:
                self._end_response()
                self._retries.wait_after(error)
                continue
            view[: len(data)] = data
            self._position += len(data)
            if data:
                return len(data)
        return 0

    def close(self) -> None:
        """Close the response, and with it the connection unless the response was read to its end."""
        self._end_response()
        super().close()

    def _reach(self) -> bool:
        """Bring the response to the wanted byte, with another request if needed; return False past the file's end."""
        gap = self._position - self._response_position
        near = gap >= 0 and (self.ignores_ranges or gap <= BYTES_OF_A_REQUEST)
        beyond = self._response_end is not None and self._position >= self._response_end
        if self._response is None or not near or beyond:
            self._end_response()
            self._request()
        if self._size is not None and self._position >= self._size:
            self._end_response()
        while self._response is not None and self._response_position < self._position:
            self._receive(min(self._position - self._response_position, 1 << 16))
        return self._response is not None

    def _request(self) -> None:
        first, last = self._position, "" if self._stop is None else self._stop - 1
        whole = first == 0 and self._stop is None
        response = self._client.get(self._url, {} if whole else {"Range": f"bytes={first}-{last}"})
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            response.close()
            self._note_end(response.headers.get("Content-Range", ""))
            return
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            self._response_position, self._response_end, size = self._check_range(response)
        else:
            self.ignores_ranges = not whole
            length = response.headers.get("Content-Length", "")
            self._response_position, self._response_end = 0, int(length) if length.isdecimal() else None
            size = self._response_end
        self._check_version(response, size)
        self._response, self._received, self._waited = response, 0, 0.0

    def _note_end(self, content_range: str) -> None:
        """Learn from a 416 where the file ends."""
        declared = _PAST_THE_END.match(content_range)
        size = int(declared.group(1)) if declared else self._size or self._position
        if size > self._position:
            raise PermanentReadError(f"{self._url}: HTTP 416 for byte {self._position} of {size}")
        self._size = size

    def _check_range(self, response: requests.Response) -> tuple[int, int, int | None]:
        """Return first byte, end and file size of a partial response; raises PermanentReadError for another part."""
        header = response.headers.get("Content-Range", "")
        declared = _CONTENT_RANGE.match(header)
        first, last = (int(declared.group(1)), int(declared.group(2))) if declared else (-1, -1)
        size = int(declared.group(3)) if declared and declared.group(3) != "*" else None
        beyond = self._stop is not None and last >= self._stop
        if first != self._position or last < first or beyond or (size is not None and last >= size):
            response.close()
            raise PermanentReadError(
                f"{self._url}: requested bytes from {self._position} to {self._stop}, but received {header!r}"
            )
        return first, last + 1, size

    def _check_version(self, response: requests.Response, size: int | None) -> None:
        """Note the file's size and version; raises UserError if they have changed since the first response."""
        seen = response.headers.get("ETag") or response.headers.get("Last-Modified")
        changed = size is not None and self._size is not None and size != self._size
        if changed or (seen and self._version and seen != self._version):
            response.close()
            raise UserError(
                f"{self._url}: changed while it was being read; continue with --resume once it no longer changes"
            )
        self._size = self._size if size is None else size
        self._version = self._version or seen

    def _receive(self, count: int) -> bytes:
        """Read some of the response's next bytes; none at the end of a response that did not declare its length."""
        if self._response is None:
            return b""
        if self._waited > self._client.settings.timeout and self._received < self._waited * _SLOWEST:
            raise RetryableError(f"only {self._received} bytes arrived in {self._waited:.0f} s")
        started = time.monotonic()
        try:
            data = bytes(self._response.raw.read1(count, decode_content=False) or b"")
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            raise RetryableError(f"the response broke off at byte {self._response_position}: {error}") from error
        self._waited += time.monotonic() - started
        if not data:
            if self._response_end is not None:
                raise RetryableError(f"the response ended at byte {self._response_position}, not {self._response_end}")
            self._size = self._response_position
            self._end_response()
        self._response_position += len(data)
        self._received += len(data)
        self._retries.received(len(data))
        return data

    def _end_response(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


class HttpFiles(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """Files over HTTP as a read-only file system for fsspec.

    fsspec's own HTTP file system has no retries, no rate limit, and trusts every response.
    """

    protocol = ("http", "https")
    cachable = False

    def __init__(self, client: HttpClient) -> None:
        super().__init__()
        self._client = client

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Describe a file; raises FileNotFoundError."""
        with HttpStream(self._client, path) as stream:
            return {"name": path, "size": stream.size(), "type": "file"}

    def exists(self, path: str, **_: Any) -> bool:
        """Return whether a file exists; a server that stays busy raises UserError."""
        try:
            with HttpStream(self._client, path) as stream:
                stream.read_range(0, 1)
        except FileNotFoundError:
            return False
        return True

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the file of that name; HTTP has no folders to search. A ? begins a query here."""
        if any(sign in path for sign in "*["):
            raise UserError(f"{path}: glob patterns do not work over HTTP; give the names of the files")
        return [path] if self.exists(path) else []

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Read a part of a file, or all of it."""
        with HttpStream(self._client, path) as stream:
            if end is not None:
                return stream.read_range(start or 0, end)
            stream.seek(start or 0)
            return stream.read()

    def open_stream(self, path: str) -> BinaryIO:
        """Open a file to read it in order; the first request shows whether it exists."""
        stream = io.BufferedReader(HttpStream(self._client, path), _STREAM_BUFFER)
        stream.peek(1)
        return stream

    def _open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        if mode != "rb":
            raise UserError(f"{path}: cannot be written over HTTP; give a local folder, s3:// or gs://")
        return AbstractBufferedFile(self, path, mode, _BLOCK, cache_type="readahead")  # type: ignore[no-any-return]
