"""Fetches images over HTTP: one event loop for many sites, few requests at a time to each host, everything bounded."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aiohttp

from mmc4_pipeline.http_client import USER_AGENT, retry_after
from mmc4_pipeline.images.addresses import FORBIDDEN, public_socket
from schemas.reasons import Reason

ALLOWED_REDIRECTS = 5
TRIES = 3  # of a request that was answered 429 or 503, timed out, or never got a connection
LONGEST_WAIT = 20.0  # seconds that a Retry-After may ask for; beyond that the image is not worth it
_BUSY = (429, 503)


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """How to ask. `routes` are URL templates tried in order; times in seconds, sizes in bytes."""

    routes: tuple[str, ...] = ("{url}",)
    user_agent: str = USER_AGENT
    timeout: float = 30.0
    max_bytes: int = 20 << 20
    max_open: int = 256
    max_open_per_host: int = 4
    allow_private_hosts: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """An image to ask for; `timestamp` is when its page was crawled, for archive routes."""

    url: str
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request ended in: a body, or the reason why there is none. `robots_tag` holds one header a line."""

    url: str
    route: str
    status: int | None = None
    error: str | None = None
    robots_tag: str | None = None
    reason: Reason | None = None
    body: bytes = b""


# Looks at an answer with a body and says why it is of no use (the next route is tried then), or keeps it.
Accept = Callable[[Answer], Awaitable[Reason | None]]
# Looks at the headers alone and says why the body must not even be read.
Consent = Callable[[str], Reason | None]


class Fetcher:
    """Asks for images. Use `async with Fetcher.open(settings, consent) as fetcher`."""

    def __init__(self, session: aiohttp.ClientSession, settings: FetchSettings, consent: Consent) -> None:
        """Wrap an open session; see `open`."""
        self._session = session
        self._settings = settings
        self._consent = consent
        self._all = asyncio.Semaphore(settings.max_open)
        self._hosts: dict[str, asyncio.Semaphore] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: FetchSettings, consent: Consent) -> AsyncIterator["Fetcher"]:
        """Open a session whose connections stay alive and never lead to a private address (unless allowed)."""
        connector = aiohttp.TCPConnector(
            limit=settings.max_open,
            ssl=ssl.create_default_context(),
            socket_factory=_any_socket if settings.allow_private_hosts else public_socket,
        )
        timeout = aiohttp.ClientTimeout(total=settings.timeout)
        # "identity": images are compressed already, and what is not sent compressed can't be a decompression bomb.
        headers = {"User-Agent": settings.user_agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            yield cls(session, settings, consent)

    async def fetch(self, request: Request, accept: Accept) -> Answer:
        """Ask the routes in turn until one gives what `accept` takes; else give what the first one ended in.

        A host that opts out is final: an archive's copy is not a way around it.
        """
        first: Answer | None = None
        for route in self._settings.routes:
            address = route.format(url=request.url, timestamp=f"{request.timestamp.astimezone(UTC):%Y%m%d%H%M%S}")
            answer = await self._ask_patiently(Answer(address, route), accept)
            if answer.reason in (None, Reason.OPTED_OUT):
                return answer
            first = first or answer
        return first or Answer(request.url, route="", reason=Reason.HOST_UNAVAILABLE, error="no route to ask")

    async def _ask_patiently(self, blank: Answer, accept: Accept) -> Answer:
        """Ask, and ask again where the server is busy or the connection fails."""
        for attempt in range(1, TRIES + 1):
            answer, wait = await self._ask_in_turn(blank, accept)
            if wait is None or attempt == TRIES:
                return answer
            if wait > LONGEST_WAIT:
                return replace(answer, error=f"asked to wait {wait:.0f} s")
            await asyncio.sleep(max(wait, 0.25 * 2**attempt))
        raise AssertionError

    async def _ask_in_turn(self, blank: Answer, accept: Accept) -> tuple[Answer, float | None]:
        """Wait for the host's turn first and only then for a place among all, so that a slow host holds up itself.

        The place is kept until the body is looked at: where decoding falls behind, bodies must not pile up in memory.
        """
        host = _host(blank.url)
        of_host = self._hosts.setdefault(host, asyncio.Semaphore(self._settings.max_open_per_host))
        async with of_host, self._all:
            answer, wait = await self._ask(blank)
            if answer.reason is None:
                answer = replace(answer, reason=await accept(answer))
            return answer, wait

    async def _ask(self, blank: Answer) -> tuple[Answer, float | None]:
        """Ask once. The second value is None for a final answer, else the seconds to wait before the next try."""
        try:
            async with self._session.get(blank.url, max_redirects=ALLOWED_REDIRECTS) as response:
                return await self._read(response, blank)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            reason, text, wait = _failure(error)
            return replace(blank, reason=reason, error=text), wait

    async def _read(self, response: aiohttp.ClientResponse, blank: Answer) -> tuple[Answer, float | None]:
        robots_tag = "\n".join(response.headers.getall("X-Robots-Tag", [])) or None
        answer = replace(blank, status=response.status, robots_tag=robots_tag)
        if response.status in _BUSY:
            wait = retry_after(response.headers)
            return replace(answer, reason=Reason.HTTP_ERROR, error=f"HTTP {response.status}"), wait
        if response.status != 200:  # noqa: PLR2004 - OK; nothing else carries the image that was asked for
            return replace(answer, reason=Reason.HTTP_ERROR, error=f"HTTP {response.status}"), None
        refused = self._consent(robots_tag or "")
        if refused is not None:
            return replace(answer, reason=refused), None
        body = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > self._settings.max_bytes:
                error = f"more than {self._settings.max_bytes} bytes"
                return replace(answer, reason=Reason.TOO_LARGE, error=error), None
        return replace(answer, body=bytes(body)), None


def _failure(error: Exception) -> tuple[Reason, str, float | None]:
    """Give the reason for an exception of a request, a text, and the wait before another try (None: no other)."""
    match error:
        case TimeoutError():
            return Reason.TIMEOUT, "no answer in time", 0.0
        case aiohttp.TooManyRedirects():
            return Reason.HTTP_ERROR, f"more than {ALLOWED_REDIRECTS} redirects", None
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError() | ValueError():
            return Reason.HTTP_ERROR, "no valid URL", None
        case aiohttp.ClientPayloadError():
            return Reason.CORRUPT, f"the answer broke off: {error}", None
    cause = str(error.os_error) if isinstance(error, aiohttp.ClientConnectorError) else str(error)
    if FORBIDDEN in cause:
        return Reason.FORBIDDEN_ADDRESS, cause, None
    return Reason.HOST_UNAVAILABLE, f"{type(error).__name__}: {error}", 0.0


def _any_socket(info: aiohttp.connector.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = info
    return socket.socket(family=family, type=kind, proto=protocol)


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
