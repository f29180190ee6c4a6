"""Repeats a request without libcurl if the response has a header that libcurl refuses and browsers read.

libcurl gives up the whole response if a line of its header has no colon or a NUL, if its Content-Length is not a
number, if its Transfer-Encoding is unknown, or if its first line is empty or has an unknown version. So do h11, aiohttp
and httptools (llhttp), at least in the first case. Here such a line, length or coding is ignored.
"""

import asyncio
import re
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from http import HTTPStatus
from math import inf
from urllib.parse import unquote_to_bytes, urlsplit

import pycurl

from filters.web_url import parts_of
from mmc4_pipeline.images.fetching.addresses import FORBIDDEN, ForbiddenAddressError, is_public
from mmc4_pipeline.images.fetching.messages import (
    BUFFER,
    CONNECT_SECONDS,
    LARGE_BODY,
    LOCATION,
    REQUEST_FIELDS,
    STATUS,
    Body,
    Response,
    certificates,
    fields_of,
)
from mmc4_pipeline.images.fetching.settings import FetchSettings

_HEADER_BYTES, _HEADER_LINES = 300 << 10, 5000  # libcurl's limits; interim responses count too
_LINES_IN_A_ROW = 64  # after which other tasks get their turn, although more lines have been received
_LENGTH, _CODING = "content-length", "transfer-encoding"
_FRAMING = {name.encode(): name for name in (_LENGTH, _CODING)}
_NUMBER = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\r*\n")  # RFC 9112, section 7.1


class LenientRequest:
    """One request, to an address that libcurl was connected to. `response` has what was read of the response."""

    def __init__(self, url: str, peer: tuple[str, int], settings: FetchSettings) -> None:
        """Prepare a request for a URL in normal form."""
        self.response = Response()
        self._url, self._peer, self._settings = url, peer, settings
        self._deadline = asyncio.get_running_loop().time() + settings.timeout
        self._lines_read = 0
        self._length: int | None = None
        self._is_chunked = False

    async def run(self, choose: Callable[[Response], Body | None], hold: Callable[[], Awaitable[None]]) -> None:
        """Make the request. `choose` is called after the header, and `hold` before a body becomes large.

        As in Transfer, None gives up the body at once. What goes wrong is noted in the response.
        """
        writer: asyncio.StreamWriter | None = None
        try:
            async with self._noting_failure():
                self._reader, writer = await self._connect()
                writer.write(_request(self._url, self._settings.user_agent))
                await self._read_header()
            if self.response.status is not None and (body := choose(self.response)) is not None:
                async with self._noting_failure(body.seconds):
                    await self._read_body(body, hold)
        finally:
            if writer is not None:
                writer.transport.abort()

    @asynccontextmanager
    async def _noting_failure(self, seconds: float | None = None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(self._deadline), asyncio.timeout(seconds):
                yield
        except TimeoutError:
            self.response.code = pycurl.E_OPERATION_TIMEDOUT
        except (OSError, EOFError, ValueError) as error:
            self.response.code, self.response.message = pycurl.E_RECV_ERROR, str(error)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the address itself: the host's name is not looked up again."""
        address, port = self._peer
        try:
            if not (self._settings.allow_private_hosts or is_public(address)):
                raise ForbiddenAddressError(f"{address} is {FORBIDDEN}")
            tls = await asyncio.to_thread(_tls, certificates()) if self._url.startswith("https:") else None
            name = urlsplit(self._url).hostname if tls else None
            async with asyncio.timeout(CONNECT_SECONDS):
                return await asyncio.open_connection(address, port, limit=BUFFER, ssl=tls, server_hostname=name)
        except OSError as error:
            self.response.os_error = error
            raise

    async def _line(self) -> bytes:
        self._lines_read += 1
        if self._lines_read % _LINES_IN_A_ROW == 0:
            await asyncio.sleep(0)
        line = await self._reader.readline()  # ValueError if it is longer than BUFFER
        if not line.endswith(b"\n"):
            raise EOFError("the connection was closed")
        return line

    async def _read_header(self) -> None:
        """Read the header of the final response. Interim responses, and empty lines before it, are skipped."""
        size, lines = 0, list[bytes]()
        while True:
            line = await self._line()
            size += len(line)
            if size > _HEADER_BYTES or self._lines_read > _HEADER_LINES:
                raise ValueError("its header is too large")
            if line := line.rstrip(b"\r\n"):
                lines.append(line.replace(b"\0", b" ").replace(b"\r", b" "))  # RFC 9110, section 5.5
            elif lines:
                found = STATUS.match(lines[0])
                if found is None:
                    raise ValueError("it is not HTTP")
                if int(found[1]) >= HTTPStatus.OK:
                    break
                lines = []
        self._length, self._is_chunked = _framing(lines[1:])
        self.response.headers = fields = fields_of(lines[1:])
        if len(set(filter(None, fields.get(LOCATION, ())))) > 1:  # browsers refuse this too
            raise ValueError("it leads to different places")
        self.response.status = int(found[1])

    async def _read_body(self, body: Body, hold: Callable[[], Awaitable[None]]) -> None:
        size, is_held = 0, False
        remaining: float = 0 if self._is_chunked else inf if self._length is None else self._length
        while remaining or (self._is_chunked and (remaining := await self._next_chunk(is_first=not size))):
            piece = await self._reader.read(int(min(remaining, BUFFER)))
            if not piece:
                if remaining == inf:
                    break
                raise EOFError("the connection was closed")
            remaining -= len(piece)
            size += len(piece)
            if body.is_collected:
                if size > LARGE_BODY and not is_held:
                    await hold()
                    is_held = True
                self.response.chunks.append(piece)
            if size > body.limit:
                self.response.is_too_long = True
                return
        self.response.is_complete = True

    async def _next_chunk(self, *, is_first: bool) -> int:
        """Return the size of the next chunk; 0 at the end. Trailers are not read."""
        if not is_first and (await self._line()).strip():
            raise ValueError("a chunk does not end where it should")
        found = _CHUNK_SIZE.fullmatch(await self._line())
        if found is None:
            raise ValueError("a chunk has no size")
        return int(found[1], 16)


def _request(url: str, user_agent: str) -> bytes:
    """Return the request that libcurl would send, except that its connection is used only once."""
    _, authority, path = parts_of(url)
    user, is_given, host = authority.rpartition("@")
    fields = [f"Host: {host}"]
    if is_given:
        credentials = unquote_to_bytes(user if ":" in user else f"{user}:")
        fields.append(f"Authorization: Basic {b64encode(credentials).decode()}")
    fields += [f"User-Agent: {user_agent}", *REQUEST_FIELDS, "Connection: close"]
    return "\r\n".join([f"GET {path} HTTP/1.1", *fields, "", ""]).encode()


def _framing(lines: list[bytes]) -> tuple[int | None, bool]:
    """Return the body's length if a field has it, and whether the body is in chunks, in which case the length is void.

    Raises ValueError for different lengths, as browsers do.
    """
    fields = fields_of(lines, _FRAMING)
    codings, lengths = (",".join(fields.get(name, ())).lower().split(",") for name in (_CODING, _LENGTH))
    if any(coding.strip() == "chunked" for coding in codings):
        return None, True
    numbers = {int(length) for length in map(str.strip, lengths) if _NUMBER.fullmatch(length)}
    if len(numbers) > 1:
        raise ValueError("it has different lengths")
    return next(iter(numbers), None), False


@cache
def _tls(file: str) -> ssl.SSLContext:
    """Return the settings for TLS that libcurl has, with the trusted certificates of a file."""
    context = ssl.create_default_context(cafile=file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    return context
