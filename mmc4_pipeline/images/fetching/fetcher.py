"""Fetches images over HTTP in one event loop: tries routes, follows redirects, retries, and obeys robots.txt."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from math import inf

from msgspec.structs import replace

from mmc4_pipeline.images.fetching.client import Held, ImageClient
from mmc4_pipeline.images.fetching.host_files import HostFiles
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageHandler, ImageRequest
from mmc4_pipeline.images.fetching.origins import origin_of
from mmc4_pipeline.images.fetching.outcomes import Outcome, Target, is_server_failure
from mmc4_pipeline.images.fetching.rate_limits import Host, Hosts, Limits, SkippedRequestError
from mmc4_pipeline.images.fetching.routes import Route
from mmc4_pipeline.images.fetching.settings import MAX_REDIRECTS, FetchSettings
from schemas.reasons import Reason

MAX_TRIES = 3  # of a request that timed out, never got a connection, or whose body broke off
MAX_EXCUSED = 20  # further tries, after this machine was asleep or its connection lost
# An address is broken after this number of 503s if its host has refused hardly any other request lately. If the host
# was busy meanwhile, it takes more of them, and at most a fifth of the other requests may have been refused.
_REFUSALS, _HARDLY_ANY = 3, 0.5
_REFUSALS_IF_BUSY, _REFUSED_OF_OTHERS = 8, 0.2
_FIRST_BACKOFF = 0.5  # seconds before the first retry; twice as long before the next

_log = logging.getLogger(__name__)


def first_host(route: Route, request: ImageRequest) -> str:
    """Return the name of the host that gets the first request for an image by a route."""
    return origin_of(route.at(request.timestamp).start_url(request.url)).host


class Fetcher:
    """Fetches images. Use `async with Fetcher.open(settings) as fetcher`."""

    def __init__(self, client: ImageClient, hosts: Hosts, settings: FetchSettings) -> None:
        """Fetch through an open client; see `open`."""
        self._client = client
        self._hosts = hosts
        self._routes = [Route.of(template) for template in settings.routes]
        self._files = HostFiles(settings, hosts, self._follow)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: FetchSettings) -> AsyncIterator["Fetcher"]:
        """Open connections, with rate limits of their own, until the `with` block ends."""
        hosts = Hosts(
            Limits(
                max_open=settings.max_open,
                max_open_per_host=settings.max_open_per_host,
                max_open_per_shared_host=max(settings.max_open_per_shared_host, settings.max_open_per_host),
                delay_per_host=settings.delay_per_host,
                last_chance=settings.last_chance,
            )
        )
        async with ImageClient.open(settings) as client:
            yield cls(client, hosts, settings)

    def first_host(self, request: ImageRequest) -> Host:
        """Return the host that gets the first request for an image."""
        return self._hosts.get(first_host(self._routes[0], request))

    async def fetch(self, request: ImageRequest, handler: ImageHandler, deadline: float = inf) -> FetchResult:
        """Try the routes in order until one has an image that the handler keeps; else return the first one's result.

        No request begins after `deadline` (in the event loop's time); the image is then `deferred`. A host's refusal is
        final: an archive's copy must not circumvent it. Raises UserError if this machine can't open more connections.
        """
        first: FetchResult | None = None
        for template in self._routes:
            route = template.at(request.timestamp)
            url = route.start_url(request.url)
            result = await self._follow(Target(route.address(url), route, handler, deadline), url)
            if result.filter or route.is_final(result.reason):
                return result
            first = first or result
        return first or FetchResult(request.url, route="", reason=Reason.HOST_UNAVAILABLE, error="no route to ask")

    async def _follow(self, target: Target, url: str) -> FetchResult:
        """Request a URL and whatever it redirects to, each within the limits of its own host."""
        target, refusal = await self._judged(target, url)
        if refusal is not None:
            return refusal
        for _ in range(MAX_REDIRECTS + 1):
            outcome = await self._request_with_retries(target, url)
            if outcome.location is None:
                return outcome.result
            url = target.route.original_url(outcome.location)
            if target.handler.denies(url):
                return replace(outcome.result, reason=Reason.DENIED, error=f"redirected to {url}")
            target, refusal = await self._judged(target, url)
            if refusal is not None:
                why = f": {refusal.error}" if refusal.error else ""
                return replace(refusal, status=outcome.result.status, error=f"redirected to {url}{why}")
        return replace(outcome.result, reason=Reason.HTTP_ERROR, error=f"more than {MAX_REDIRECTS} redirects")

    async def _judged(self, target: Target, url: str) -> tuple[Target, FetchResult | None]:
        """Return the target with what its host's files declare, and its result if they forbid to request the URL."""
        if target.is_host_file:
            return target, None
        found = await self._files.judge(target, url)
        if isinstance(found, FetchResult):
            return target, found
        if found != target.declarations:
            target = replace(target, declarations=found)
        drop = target.handler.refuse("", "\n".join(found)) if found else None
        if drop is None:
            return target, None
        return target, replace(target.empty_result, reason=drop.reason, filter=drop.filter)

    async def _request_with_retries(self, target: Target, url: str) -> Outcome:
        """Make a request, and retry if the server is busy or the connection fails, each time within the rate limits.

        If the host is busy, the request is repeated until the deadline: no image is lost by coming too fast.
        The slots are held until the body has been handled: if decoding falls behind, bodies must not pile up in memory.
        """
        outcome, unread, failures, excused, refusals, name = None, None, 0, 0, None, origin_of(url).host
        while True:
            try:
                host = await self._hosts.acquire(name, target.deadline)
            except SkippedRequestError as skipped:
                return Outcome(_skipped(target.empty_result, outcome, skipped))
            try:
                outcome = await self._request_once(target, url, host, unread, may_excuse=excused < MAX_EXCUSED)
            finally:
                self._hosts.release(host)
            unread = outcome if outcome.unread_from is not None else None
            if unread is not None:
                continue
            if outcome.is_excused and excused < MAX_EXCUSED:
                excused += 1
                continue
            if outcome.result.status == HTTPStatus.SERVICE_UNAVAILABLE:
                refusals = refusals or _Refusals(host)
                if refusals.show_a_broken_address():
                    return Outcome(outcome.result)
            failures += outcome.may_retry
            if outcome.pushback is None and (not outcome.may_retry or failures == MAX_TRIES):
                return outcome
            _log.debug("%s: %s; will be retried", url, outcome.result.error)
            if outcome.may_retry:
                await asyncio.sleep(_FIRST_BACKOFF * 2 ** (failures - 1))

    async def _request_once(
        self, target: Target, url: str, host: Host, unread: Outcome | None, *, may_excuse: bool
    ) -> Outcome:
        """Make a request in the slots of its host, and pass on the image. `unread` is as in ImageClient.request.

        A failure counts against the host unless it is excused, and may be.
        """
        held, started = Held(), host.time()
        try:
            outcome = await self._client.request(target, url, held, unread)
            if not (may_excuse and outcome.is_excused):
                _record(host, outcome, started)
            if outcome.result.reason is None and outcome.location is None:
                reason = await target.handler.receive(outcome.result)
                return Outcome(replace(outcome.result, reason=reason)) if reason else outcome
            return outcome
        finally:
            await held.release()


class _Refusals:
    """Counts how often one address got 503, and how the host responded to requests for its others meanwhile.

    A busy host refuses all requests; a broken address is refused while the others are not. Each request is
    made after the pause that the host wants.
    """

    def __init__(self, host: Host) -> None:
        """Begin with the first refusal, which the host has counted."""
        self._host = host
        self._own = 0
        self._answered = host.answered

    def show_a_broken_address(self) -> bool:
        """Count a refusal; return whether the address is broken rather than the host busy."""
        self._own += 1
        answered, refused = self._host.answered - self._answered, max(0.0, self._host.refused - self._own)
        never_busy = refused < _HARDLY_ANY
        if self._own < (_REFUSALS if never_busy else _REFUSALS_IF_BUSY):
            return False
        if not never_busy and refused > _REFUSED_OF_OTHERS * (refused + answered):
            return False
        self._host.refused = refused  # those of this address do not show that the host is busy
        return True


def _skipped(empty: FetchResult, outcome: Outcome | None, skipped: SkippedRequestError) -> FetchResult:
    """Return the result for a request that was not made: that of the last try, unless it could still succeed later."""
    if outcome is None:
        return replace(empty, reason=skipped.reason, error=skipped.text)
    may_retry = outcome.may_retry or outcome.unread_from is not None
    if outcome.pushback is not None or (may_retry and skipped.reason is Reason.DEFERRED):
        return replace(outcome.result, reason=skipped.reason, error=f"{outcome.result.error}; {skipped.text}")
    return outcome.result


def _record(host: Host, outcome: Outcome, started: float) -> None:
    """Note how the host responded to a request."""
    result = outcome.result
    if outcome.pushback is not None:
        host.record_pushback(outcome.pushback, started, is_explicit=result.status == HTTPStatus.TOO_MANY_REQUESTS)
    elif result.status is None and result.reason in (Reason.TIMEOUT, Reason.HOST_UNAVAILABLE):
        host.record_failure(result.error or "", started)
    elif result.status is not None and is_server_failure(result.status):
        host.record_failure(f"HTTP {result.status}", None)
    elif result.reason == Reason.CORRUPT and outcome.may_retry:  # the connection broke off
        host.slow_down(started)
    elif result.status is not None or result.reason == Reason.CORRUPT:  # also a response that can't be read
        host.record_response()
