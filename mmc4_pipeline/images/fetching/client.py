"""Makes single HTTP requests for images: to public addresses only, bounded in time, size and memory."""

import asyncio
import errno
import resource
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from math import inf

import aiohttp
from yarl import URL

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.fetching import robots
from mmc4_pipeline.images.fetching.addresses import FORBIDDEN, public_socket
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageHandler
from mmc4_pipeline.images.fetching.origins import origin_of
from mmc4_pipeline.images.fetching.routes import Route
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.storage.http.client import retry_after
from schemas.reasons import Reason

DNS_THREADS = 256  # looking up a dead name may take half a minute, and many links are dead
LARGE_BODY = 512 << 10  # bytes; only a few bodies that are larger are in memory at a time
MAX_LARGE_BODIES = 64
_DRAIN_BYTES, _DRAIN_SECONDS = 64 << 10, 2.0  # at most this much of the body of an error or redirect is read
_ABANDONED_SECONDS = 1.0  # for which a slot stays taken after a response was not read to its end
_CONNECT_SECONDS = 10.0  # for opening a connection; the whole request has more time
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_REDIRECTS = (
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
)


@dataclass(frozen=True, slots=True)
class Target:
    """An image, or a robots.txt, to download by one route. `url` names its result.

    No request for it begins after `deadline`, in the event loop's time.
    """

    url: str
    route: Route
    handler: ImageHandler
    deadline: float = inf
    is_robots_txt: bool = False

    @property
    def empty_result(self) -> FetchResult:
        """Return a result that has only its URL and route."""
        return FetchResult(self.url, self.route.template)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended. The result is final unless one of the others is set.

    `pushback` is set if the host is busy (429 or 503): how many seconds it asked to wait, 0 if it did not say.
    `may_retry` is set after a failure that may pass. `location` is where a redirect leads.
    """

    result: FetchResult
    pushback: float | None = None
    may_retry: bool = False
    location: str | None = None


def is_server_failure(status: int) -> bool:
    """Return whether a status says that the server is broken, whatever was requested."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR


class ImageClient:
    """An open HTTP session. Use `async with ImageClient.open(settings) as client`."""

    def __init__(self, session: aiohttp.ClientSession, settings: FetchSettings) -> None:
        """Wrap an open session; see `open`."""
        self._session = session
        self._max_bytes = settings.max_bytes
        self._large = asyncio.Semaphore(MAX_LARGE_BODIES)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: FetchSettings) -> AsyncIterator["ImageClient"]:
        """Open a session that keeps connections alive and never connects to a private address (unless allowed).

        From then on, the event loop's default threads look up names.
        """
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(DNS_THREADS, "name"))
        _raise_open_files_limit(2 * settings.max_open + 256)
        connector = aiohttp.TCPConnector(  # aiohttp has one SSL context per process
            limit=0,  # the limits are those of rate_limits.py
            socket_factory=_any_socket if settings.allow_private_hosts else public_socket,
        )
        timeout = aiohttp.ClientTimeout(total=settings.timeout, sock_connect=min(settings.timeout, _CONNECT_SECONDS))
        # "identity": images are compressed already, and what is not sent compressed can't be a decompression bomb.
        headers = {"User-Agent": settings.user_agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            yield cls(session, settings)

    async def request(self, target: Target, url: str, stack: AsyncExitStack) -> Outcome:
        """Make one request. `stack` releases what must be held until the result has been used.

        Raises UserError if this machine can't open more connections.
        """
        try:
            async with self._session.get(
                target.route.address(url),
                allow_redirects=False,
                server_hostname=target.route.pool_name(origin_of(url).host),
            ) as response:
                stack.push_async_callback(_wait_if_abandoned, response)
                return await self._read(response, target, stack)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            reason, text, may_retry = _failure(error)
            return Outcome(replace(target.empty_result, reason=reason, error=text), may_retry=may_retry)

    async def _read(self, response: aiohttp.ClientResponse, target: Target, stack: AsyncExitStack) -> Outcome:
        status = response.status
        robots_tag = "\n".join(response.headers.getall("X-Robots-Tag", ())) or None
        result = replace(target.empty_result, status=status, robots_tag=robots_tag)
        if status == HTTPStatus.OK:
            return Outcome(await self._read_body(response, target, result, stack))
        await _drain(response)
        if status in _REDIRECTS and response.headers.get("Location"):
            return Outcome(result, location=_location(response))
        result = replace(result, reason=Reason.HTTP_ERROR, error=f"HTTP {status}")
        return Outcome(result, pushback=retry_after(response.headers) if status in _BUSY else None)

    async def _read_body(
        self, response: aiohttp.ClientResponse, target: Target, result: FetchResult, stack: AsyncExitStack
    ) -> FetchResult:
        refused = target.handler.refuse(result.robots_tag or "")
        if refused is not None:
            return replace(result, reason=refused.reason, filter=refused.filter)
        max_bytes = robots.MAX_BYTES if target.is_robots_txt else self._max_bytes
        chunks, size = [], 0
        async for chunk in response.content.iter_any():
            if size <= LARGE_BODY < size + len(chunk):
                await stack.enter_async_context(self._large)
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                if target.is_robots_txt:
                    break
                return replace(result, reason=Reason.TOO_LARGE, error=f"more than {max_bytes} bytes")
        return replace(result, body=chunks[0] if len(chunks) == 1 else b"".join(chunks))


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read a short body that is not needed, so that the server completes the request and the connection is reused."""
    remaining = _DRAIN_BYTES
    with suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for chunk in response.content.iter_any():
                remaining -= len(chunk)
                if remaining < 0:
                    return


async def _wait_if_abandoned(response: aiohttp.ClientResponse) -> None:
    """Hold the host's slot briefly after abandoning a response: the server may still be sending it.

    After a response that was read to its end this is not necessary: the next request on that connection comes later.
    """
    if not response.content.is_eof():
        await asyncio.sleep(_ABANDONED_SECONDS)


def _location(response: aiohttp.ClientResponse) -> str:
    """Return the absolute URL that a redirect leads to; raises ValueError if it is not a URL of the web."""
    target = response.url.join(URL(response.headers["Location"])).with_fragment(None)
    if target.scheme not in ("http", "https") or not target.host:
        raise ValueError(f"redirected to {target}")
    return str(target)


def _failure(error: Exception) -> tuple[Reason, str, bool]:
    """Return reason and text for an exception of a request, and whether a retry may help.

    Raises UserError if the fault is this machine's.
    """
    match error:
        case TimeoutError():
            return Reason.TIMEOUT, "no answer in time", True
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError() | ValueError():
            return Reason.HTTP_ERROR, "no valid URL", False
        case aiohttp.ClientPayloadError():
            return Reason.CORRUPT, f"the answer broke off: {error}", True
    if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
        raise UserError("cannot open more connections (see ulimit -n): lower --max_open_requests") from error
    cause = str(error.os_error) if isinstance(error, aiohttp.ClientConnectorError) else str(error)
    if FORBIDDEN in cause:
        return Reason.FORBIDDEN_ADDRESS, cause, False
    return Reason.HOST_UNAVAILABLE, f"{type(error).__name__}: {error}", True


def _raise_open_files_limit(wanted: int) -> None:
    """Raise this process's limit of open files as far as is permitted; each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft not in (-1, resource.RLIM_INFINITY) and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))


def _any_socket(info: aiohttp.connector.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = info
    return socket.socket(family=family, type=kind, proto=protocol)
