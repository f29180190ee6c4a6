"""Fetches images over HTTP: one event loop for many sites, each asked with manners, everything bounded."""

import asyncio
import errno
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from math import inf
from urllib.parse import SplitResult

import aiohttp
from yarl import URL

from filters.hosts import host_and_port, split
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.fetching import robots
from mmc4_pipeline.images.fetching.addresses import FORBIDDEN, public_socket
from mmc4_pipeline.images.fetching.manners import Host, Hosts, NoTurnError
from mmc4_pipeline.images.fetching.robots import Robots
from mmc4_pipeline.images.fetching.routes import LIVE, Route
from mmc4_pipeline.storage.http.client import USER_AGENT, retry_after
from schemas.reasons import Drop, Reason

ALLOWED_REDIRECTS = 5
TRIES = 3  # of a request that was answered 429 or 503, timed out, or never got a connection
LONGEST_WAIT = 20.0  # seconds that a Retry-After may ask for; a host that asks for more is left alone
NAMES_AT_ONCE = 256  # looked up: of a dead one the answer may take half a minute, and many links are dead
LARGE = 512 << 10  # bytes of a body from which on few are in memory at a time
LARGE_AT_ONCE = 64
_SHORT, _SHORT_SECONDS = 64 << 10, 2.0  # of the body of an error or a redirect: so much is waited for
_CUT_OFF_SECONDS = 1.0  # that a place at a host stays taken after its answer was not read to the end
_CONNECT_SECONDS = 10.0  # for the connection alone, where the whole request has more
_OK = 200
_BUSY = (429, 503)
_REDIRECTS = (301, 302, 303, 307, 308)
_SERVER_ERRORS = 500  # and above


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """How to ask. `routes` are URL templates tried in order; times in seconds, sizes in bytes.

    `delay_per_host` lies at least between the starts of two requests to a host. No first request to an address begins
    after `shard_seconds`; what is left then gets a last pass of the same length (see `Fetcher.give_time`).
    """

    routes: tuple[str, ...] = (LIVE,)
    user_agent: str = USER_AGENT
    timeout: float = 30.0
    max_bytes: int = 20 << 20
    max_open: int = 1024
    max_open_per_host: int = 4
    delay_per_host: float = 0.25
    shard_seconds: float = inf
    robots_txt: bool = True
    allow_private_hosts: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """An image to ask for; `timestamp` is when its page was crawled, for archive routes."""

    url: str
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request ended in: a body, or the reason why there is none. `robots_tag` holds one header a line.

    `size` (width and height in pixels) and `sha256` are of the image as the web had it, where another program has
    fetched it and may have changed it since; None where the body itself says.
    """

    url: str
    route: str
    status: int | None = None
    error: str | None = None
    robots_tag: str | None = None
    reason: str | None = None
    body: bytes = b""
    size: tuple[int, int] | None = None
    sha256: str | None = None
    filter: str | None = None  # the filter that `consent` named, which is why the body was not read


# Looks at an answer with a body and says why it is of no use (the next route is tried then), or keeps it.
Accept = Callable[[Answer], Awaitable[str | None]]
# Looks at the headers alone and says why the body must not even be read.
Consent = Callable[[str], Drop | None]
# Tells whether a URL, which a redirect leads to, must not be asked for.
Denied = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Target:
    """An image, or a robots.txt, to get by one route: `blank` is its answer as long as there is none."""

    route: Route
    blank: Answer
    accept: Accept
    is_robots: bool = False


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How one request ended: in an answer, unless it may be tried again after `wait` seconds or leads elsewhere."""

    answer: Answer
    wait: float | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True)
class _NoRobots:
    """Why a host's robots.txt could not be had. Its images are not asked for then (RFC 9309, 2.3.1.4)."""

    reason: str
    error: str


class Fetcher:
    """Asks for images. Use `async with Fetcher.open(settings, consent) as fetcher`."""

    def __init__(
        self, session: aiohttp.ClientSession, settings: FetchSettings, consent: Consent, denied: Denied
    ) -> None:
        """Wrap an open session; see `open`."""
        self._session = session
        self._settings = settings
        self._consent = consent
        self._denied = denied
        self._routes = [Route.of(template) for template in settings.routes]
        self._hosts = Hosts(settings.max_open, settings.max_open_per_host, settings.delay_per_host)
        self._names = robots.robot_names(settings.user_agent)
        self._robots: dict[str, asyncio.Task[Robots | _NoRobots]] = {}
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: FetchSettings, consent: Consent, denied: Denied = lambda _url: False
    ) -> AsyncIterator["Fetcher"]:
        """Open a session whose connections stay alive and never lead to a private address (unless allowed).

        The event loop's default threads are for looking up names from then on.
        """
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(NAMES_AT_ONCE, "name"))
        _allow_files(2 * settings.max_open + 256)
        connector = aiohttp.TCPConnector(  # aiohttp has one SSL context a process
            limit=0,  # Hosts keeps to the limits
            socket_factory=_any_socket if settings.allow_private_hosts else public_socket,
        )
        timeout = aiohttp.ClientTimeout(total=settings.timeout, sock_connect=min(settings.timeout, _CONNECT_SECONDS))
        # "identity": images are compressed already, and what is not sent compressed can't be a decompression bomb.
        headers = {"User-Agent": settings.user_agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            yield cls(session, settings, consent, denied)

    def give_time(self, seconds: float) -> None:
        """Let requests begin for so many seconds from now; those whose turn comes later end as `deferred`."""
        self._hosts.give_time(seconds)

    async def fetch(self, request: Request, accept: Accept) -> Answer:
        """Ask the routes in turn until one gives what `accept` takes; else give what the first one ended in.

        A host's refusal is final: an archive's copy is not a way around it. Raises UserError where this machine has
        no connections left.
        """
        first: Answer | None = None
        for template in self._routes:
            route = template.at(request.timestamp)
            url = route.first(request.url)
            answer = await self._follow(_Target(route, Answer(route.address(url), route.template), accept), url)
            if answer.filter or route.is_final(answer.reason):
                return answer
            first = first or answer
        return first or Answer(request.url, route="", reason=Reason.HOST_UNAVAILABLE, error="no route to ask")

    async def _follow(self, errand: _Target, url: str) -> Answer:
        """Ask for a URL and for what it redirects to, each hop in its own host's turn."""
        refusal = await self._refusal(errand, url)
        if refusal is not None:
            return refusal
        for _ in range(ALLOWED_REDIRECTS + 1):
            outcome = await self._ask_patiently(errand, url)
            if outcome.location is None:
                return outcome.answer
            url = errand.route.original(outcome.location)
            if self._denied(url):
                return replace(outcome.answer, reason=Reason.DENIED, error=f"redirected to {url}")
            refusal = await self._refusal(errand, url)
            if refusal is not None:
                return replace(refusal, status=outcome.answer.status, error=f"redirected to {url}: {refusal.error}")
        error = f"more than {ALLOWED_REDIRECTS} redirects"
        return replace(outcome.answer, reason=Reason.HTTP_ERROR, error=error)

    async def _refusal(self, errand: _Target, url: str) -> Answer | None:
        """Give the answer for a URL that its host's robots.txt forbids; None where it may be asked for."""
        if errand.is_robots or not self._settings.robots_txt:
            return None
        address = _site(url).robots
        if address is None:  # no address on the web, as asking will show
            return None
        found = await self._robots_of(errand.route, address)
        if isinstance(found, _NoRobots):
            return replace(errand.blank, reason=found.reason, error=found.error)
        return None if found.allows(url) else replace(errand.blank, reason=Reason.ROBOTS, error=f"see {address}")

    async def _robots_of(self, route: Route, address: str) -> Robots | _NoRobots:
        """Give what a robots.txt says; it is asked for once, but for a last pass."""
        key = route.address(address)
        if key not in self._robots:
            self._robots[key] = asyncio.create_task(self._ask_for_robots(route, address))
        found = await self._robots[key]
        if isinstance(found, _NoRobots) and found.reason is Reason.DEFERRED:
            self._robots.pop(key, None)
        return found

    async def _ask_for_robots(self, route: Route, address: str) -> Robots | _NoRobots:
        """Read RFC 9309, 2.3.1: 4xx and endless redirects allow all, what can't be reached allows nothing."""
        errand = _Target(route, Answer(route.address(address), route.template), _keep, is_robots=True)
        answer = await self._follow(errand, address)
        error = f"robots.txt: {answer.error}"
        if answer.reason is None:
            try:
                found = Robots.read(answer.body, self._names)
            except ValueError as problem:
                return _NoRobots(Reason.HOST_UNAVAILABLE, f"robots.txt: {problem}")
            host = self._hosts.of(_site(address).host)
            host.delay = max(host.delay, found.delay)
            return found
        if answer.reason is Reason.HTTP_ERROR and answer.status is not None:
            bad = answer.status in _BUSY or answer.status >= _SERVER_ERRORS
            return _NoRobots(Reason.HOST_UNAVAILABLE, error) if bad else Robots()
        unreachable = answer.reason in (Reason.DENIED, Reason.CORRUPT)
        return _NoRobots(Reason.HOST_UNAVAILABLE if unreachable else answer.reason, error)

    async def _ask_patiently(self, errand: _Target, url: str) -> _Outcome:
        """Ask, and ask again where the server is busy or the connection fails; each time in turn.

        The turn lasts until the body is looked at: where decoding falls behind, bodies must not pile up in memory.
        """
        outcome: _Outcome | None = None
        for attempt in range(1, TRIES + 1):
            try:
                async with self._hosts.turn(_site(url).host) as host, AsyncExitStack() as held:
                    outcome = await self._ask(errand, url, host, held)
                    if outcome.answer.reason is None and outcome.location is None:
                        reason = await errand.accept(outcome.answer)
                        return _Outcome(replace(outcome.answer, reason=reason)) if reason else outcome
            except NoTurnError as none:
                return outcome or _Outcome(replace(errand.blank, reason=none.reason, error=none.text))
            if outcome.wait is None or attempt == TRIES:
                return outcome
            await asyncio.sleep(max(outcome.wait, 0.25 * 2**attempt))
        raise AssertionError

    async def _ask(self, errand: _Target, url: str, host: Host, held: AsyncExitStack) -> _Outcome:
        """Ask once, and note how the host does; `held` gets what is to be let go when the answer was looked at."""
        try:
            async with self._session.get(
                errand.route.address(url), allow_redirects=False, server_hostname=errand.route.pool(_site(url).host)
            ) as response:
                held.push_async_callback(_leave, response)
                outcome = await self._read(response, errand, held)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            reason, text, wait = _failure(error)
            if reason in (Reason.TIMEOUT, Reason.HOST_UNAVAILABLE):
                host.failed(text)
            return _Outcome(replace(errand.blank, reason=reason, error=text), wait)
        status = outcome.answer.status or 0
        if status in _BUSY or status >= _SERVER_ERRORS:
            host.failed(f"HTTP {status}")
        else:
            host.answered()
        if outcome.wait:
            host.pause(outcome.wait)
        if outcome.wait is not None and outcome.wait > LONGEST_WAIT:
            error_text = f"asked to wait {outcome.wait:.0f} s"
            host.left_alone = host.left_alone or f"host {error_text}"
            return _Outcome(replace(outcome.answer, error=error_text))
        return outcome

    async def _read(self, response: aiohttp.ClientResponse, errand: _Target, held: AsyncExitStack) -> _Outcome:
        status = response.status
        robots_tag = "\n".join(response.headers.getall("X-Robots-Tag", ())) or None
        if status == _OK:
            return _Outcome(await self._read_body(response, errand, robots_tag, held))
        await _let_end(response)
        answer = replace(errand.blank, status=status, robots_tag=robots_tag)
        if status in _REDIRECTS and response.headers.get("Location"):
            return _Outcome(answer, location=_location(response))
        wait = retry_after(response.headers) if status in _BUSY else None
        return _Outcome(replace(answer, reason=Reason.HTTP_ERROR, error=f"HTTP {status}"), wait)

    async def _read_body(
        self, response: aiohttp.ClientResponse, errand: _Target, robots_tag: str | None, held: AsyncExitStack
    ) -> Answer:
        blank = errand.blank
        refused = None if errand.is_robots else self._consent(robots_tag or "")
        if refused is not None:
            return replace(blank, status=_OK, robots_tag=robots_tag, reason=refused.reason, filter=refused.filter)
        max_bytes = robots.MAX_BYTES if errand.is_robots else self._settings.max_bytes
        chunks, size = [], 0
        async for chunk in response.content.iter_any():
            if size <= LARGE < size + len(chunk):
                await held.enter_async_context(self._large)
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                if errand.is_robots:
                    break
                error = f"more than {max_bytes} bytes"
                return replace(blank, status=_OK, robots_tag=robots_tag, reason=Reason.TOO_LARGE, error=error)
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return Answer(blank.url, blank.route, _OK, robots_tag=robots_tag, body=body)


async def _let_end(response: aiohttp.ClientResponse) -> None:
    """Read a short body that nobody wants: only then has the server done with the request, and the connection lives."""
    left = _SHORT
    with suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_SHORT_SECONDS):
            async for chunk in response.content.iter_any():
                left -= len(chunk)
                if left < 0:
                    return


async def _leave(response: aiohttp.ClientResponse) -> None:
    """Keep a request's place while the host may still be at an answer that was cut off: nothing tells when it is done.

    Of an answer that was read to its end it is: the next request on that connection comes after it.
    """
    if not response.content.is_eof():
        await asyncio.sleep(_CUT_OFF_SECONDS)


async def _keep(_answer: Answer) -> str | None:
    return None


def _location(response: aiohttp.ClientResponse) -> str:
    """Give the absolute address that a redirect leads to; raises ValueError for one that is not on the web."""
    target = response.url.join(URL(response.headers["Location"])).with_fragment(None)
    if target.scheme not in ("http", "https") or not target.host:
        message = f"redirected to {target}"
        raise ValueError(message)
    return str(target)


def _failure(error: Exception) -> tuple[Reason, str, float | None]:
    """Give the reason for an exception of a request, a text, and the wait before another try (None: no other).

    Raises UserError where the fault is this machine's.
    """
    match error:
        case TimeoutError():
            return Reason.TIMEOUT, "no answer in time", 0.0
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError() | ValueError():
            return Reason.HTTP_ERROR, "no valid URL", None
        case aiohttp.ClientPayloadError():
            return Reason.CORRUPT, f"the answer broke off: {error}", None
    if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
        message = "no more connections can be opened (see ulimit -n): lower --max_open_requests"
        raise UserError(message) from error
    cause = str(error.os_error) if isinstance(error, aiohttp.ClientConnectorError) else str(error)
    if FORBIDDEN in cause:
        return Reason.FORBIDDEN_ADDRESS, cause, None
    return Reason.HOST_UNAVAILABLE, f"{type(error).__name__}: {error}", 0.0


def _allow_files(wanted: int) -> None:
    """Raise this process's limit of open files, as far as it may; a connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft not in (-1, resource.RLIM_INFINITY) and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))


def _any_socket(info: aiohttp.connector.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = info
    return socket.socket(family=family, type=kind, proto=protocol)


@dataclass(frozen=True, slots=True)
class _Site:
    """The host that a URL's manners are for, and the robots.txt that it is subject to."""

    host: str = ""
    robots: str | None = None


def _site(url: str) -> _Site:
    parts = split(url)
    return _site_at(parts.scheme, parts.netloc) if parts else _Site()


@lru_cache(maxsize=65536)
def _site_at(scheme: str, netloc: str) -> _Site:
    parts = SplitResult(scheme, netloc, "", "", "")
    if scheme not in ("http", "https") or not parts.hostname:
        return _Site()
    return _Site(host_and_port(parts), f"{scheme}://{netloc.rpartition('@')[2]}/robots.txt")
