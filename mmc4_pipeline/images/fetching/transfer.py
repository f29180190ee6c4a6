"""One HTTP request through libcurl: reads the header, asks what to do with the body, and reads it within bounds."""

import asyncio
import hashlib
import socket
from collections.abc import Callable
from http import HTTPStatus

import pycurl

from filters.web_url import parts_of
from mmc4_pipeline.images.fetching.addresses import public_socket
from mmc4_pipeline.images.fetching.curl_loop import CurlLoop
from mmc4_pipeline.images.fetching.messages import (
    BUFFER,
    CONNECT_SECONDS,
    LARGE_BODY,
    REQUEST_FIELDS,
    STATUS,
    Body,
    Response,
    certificates,
    fields_of,
)
from mmc4_pipeline.images.fetching.settings import FetchSettings

_IDLE_SECONDS = 15  # for which an unused connection is kept
_HEADER_END = (b"\r\n", b"\n")


class Transfer:
    """A libcurl handle that makes one request at a time."""

    def __init__(self, loop: CurlLoop, settings: FetchSettings) -> None:
        """Set what is the same for all requests."""
        self._loop = loop
        self._events = asyncio.get_running_loop()
        self._is_any_allowed = settings.allow_private_hosts
        self._has_pool_name = False
        self.curl = curl = pycurl.Curl()
        for option, value in _options(settings):
            curl.setopt(option, value)
        self._timer: asyncio.TimerHandle | None = None
        self._origin, self._is_fresh = "", False  # what libcurl has as its URL, and as FRESH_CONNECT
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        curl.setopt(pycurl.HEADERFUNCTION, self._receive_header)
        curl.setopt(pycurl.WRITEFUNCTION, self._receive_body)

    def set_url(self, url: str, addresses: str | None, pool_name: str | None = None) -> None:
        """Set what to request; `addresses` are those of its host, as libcurl's RESOLVE takes them.

        Requests with different pool names get different connections. libcurl separates connections by the host of the
        URL, so with a pool name this gets one of its own, and the real host is set aside.
        """
        curl = self.curl
        scheme, host, path = parts_of(url)
        if addresses is not None:
            curl.setopt(pycurl.RESOLVE, [addresses])
        if pool_name is not None:
            curl.setopt(pycurl.CONNECT_TO, [f"::{host}"])
            curl.setopt(pycurl.HTTPHEADER, [*REQUEST_FIELDS, f"Host: {host}"])
            host = f"{hashlib.sha256(pool_name.encode()).hexdigest()[:32]}.pool"
        elif self._has_pool_name:
            curl.setopt(pycurl.CONNECT_TO, [])
            curl.setopt(pycurl.HTTPHEADER, REQUEST_FIELDS)
        self._has_pool_name = pool_name is not None
        origin = f"{scheme}://{host}/"
        if origin != self._origin:
            curl.setopt(pycurl.URL, origin)
            self._origin = origin
        curl.setopt(pycurl.REQUEST_TARGET, path)  # as it is; libcurl would change %e2 to %E2

    def set_fresh(self, woken: float) -> None:
        """Open a new connection for the request if an unused one may be from before this machine was asleep.

        Such a connection may be dead without a sign. `woken` is when the machine woke up, in the event loop's time.
        """
        is_fresh = self._events.time() - woken <= _IDLE_SECONDS
        if is_fresh != self._is_fresh:
            self.curl.setopt(pycurl.FRESH_CONNECT, is_fresh)
            self._is_fresh = is_fresh

    @property
    def peer(self) -> tuple[str, int]:
        """Return the address and port that the last request was sent to."""
        return str(self.curl.getinfo(pycurl.PRIMARY_IP)), int(self.curl.getinfo(pycurl.PRIMARY_PORT))

    def start(self, choose: Callable[[Response], Body | None]) -> None:
        """Start the request whose URL is set. `choose` is called after the header; None gives up the body at once."""
        self.response = Response()
        self._choose = choose
        self._body: Body | None = None
        self._lines: list[bytes] = []
        self._size = 0
        self._may_be_large = self._is_ended = False
        self._error: BaseException | None = None
        self._timer = None
        self._event = self._events.create_future()
        self._loop.start(self.curl, self._end)

    async def until_large(self) -> bool:
        """Wait for the end of the request (False), or until its body is large and waits for `go_on` (True)."""
        await self._event
        if self._error is not None:
            raise self._error
        return not self._is_ended

    def go_on(self) -> None:
        """Read the rest of a large body."""
        if self._is_ended:
            return
        self._may_be_large = True
        self._event = self._events.create_future()
        self.curl.pause(pycurl.PAUSE_CONT)

    def stop(self) -> None:
        """Give up the request if it has not ended."""
        self._loop.stop(self.curl)
        if self._timer is not None:
            self._timer.cancel()

    def _end(self, code: int, message: str) -> None:
        response = self.response
        if code == pycurl.E_WRITE_ERROR and response.status is None:  # _receive_header found no status
            code, message = pycurl.E_FTP_WEIRD_SERVER_REPLY, "it is not HTTP"
        response.code, response.message = code, message
        if code == pycurl.E_FTP_WEIRD_SERVER_REPLY and response.status is None and self._lines:
            found = STATUS.match(self._lines[0])
            if found and int(found[1]) >= HTTPStatus.BAD_REQUEST:  # whatever else is wrong, the status is known
                response.status = int(found[1])
        response.is_complete = code == 0
        self._is_ended = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._event.done():
            self._event.set_result(None)

    def _open_socket(self, _purpose: int, address: tuple[int, int, int, tuple[int | str, ...]]) -> object:
        try:
            family, kind, protocol, peer = address
            if self._is_any_allowed:
                return socket.socket(family, kind, protocol)
            return public_socket((family, kind, protocol, "", peer))
        except OSError as error:
            self.response.os_error = error
            return pycurl.SOCKET_BAD

    def _receive_header(self, line: bytes) -> int | None:
        if self._body is not None:  # these are trailers
            return None
        if line not in _HEADER_END:
            self._lines.append(line)
            return None
        response = self.response
        lines, self._lines = self._lines, []
        found = STATUS.match(lines[0]) if lines else None
        if found is None:
            return -1
        status = int(found[1])
        if status < HTTPStatus.OK:  # the final response follows
            return None
        response.status = status
        response.headers = fields_of(lines[1:])
        try:
            self._body = self._choose(response)
        except Exception as error:  # noqa: BLE001 - raised where the request was made
            self._error = error
        if self._body is None:
            return -1
        if self._body.seconds is not None:
            self._timer = self._events.call_later(self._body.seconds, self._give_up)
        return None

    def _receive_body(self, chunk: bytes) -> int | None:
        body, size = self._body, self._size + len(chunk)
        if body is None:
            return -1
        if body.is_collected:
            if size > LARGE_BODY and not self._may_be_large:
                self._event.set_result(None)
                return int(pycurl.WRITEFUNC_PAUSE)
            self.response.chunks.append(chunk)
        self._size = size
        if size > body.limit:
            self.response.is_too_long = True
            return -1
        return None

    def _give_up(self) -> None:
        self.stop()
        self._end(pycurl.E_WRITE_ERROR, "given up")


def _options(settings: FetchSettings) -> list[tuple[int, object]]:
    return [
        (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
        (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
        (pycurl.PROXY, ""),  # also none that the environment names
        (pycurl.NOSIGNAL, 1),
        (pycurl.USERAGENT, settings.user_agent),
        (pycurl.HTTPHEADER, REQUEST_FIELDS),
        (pycurl.TIMEOUT_MS, round(settings.timeout * 1000)),
        (pycurl.CONNECTTIMEOUT_MS, round(min(settings.timeout, CONNECT_SECONDS) * 1000)),
        (pycurl.MAXAGE_CONN, _IDLE_SECONDS),
        (pycurl.BUFFERSIZE, BUFFER),
        (pycurl.CAINFO, certificates()),
    ]
