"""Fetches images over HTTP in one event loop: tries routes, follows redirects, retries, and obeys robots.txt."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from mmc4_pipeline.images.fetching.client import ImageClient, Outcome, Target, is_server_failure
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageHandler, ImageRequest
from mmc4_pipeline.images.fetching.origins import origin_of
from mmc4_pipeline.images.fetching.rate_limits import Host, Hosts, SkippedRequestError
from mmc4_pipeline.images.fetching.robots_cache import RobotsCache
from mmc4_pipeline.images.fetching.routes import Route
from mmc4_pipeline.images.fetching.settings import MAX_REDIRECTS, FetchSettings
from schemas.reasons import Reason

MAX_TRIES = 3  # of a request that got 429 or 503, timed out, or never got a connection
MAX_RETRY_AFTER = 20.0  # seconds; a host that sends a longer Retry-After is skipped
_FIRST_BACKOFF = 0.5  # seconds before the first retry; twice as long before the next

_log = logging.getLogger(__name__)


class Fetcher:
    """Fetches images. Use `async with Fetcher.open(settings) as fetcher`."""

    def __init__(self, client: ImageClient, hosts: Hosts, settings: FetchSettings) -> None:
        """Fetch through an open client; see `open`."""
        self._client = client
        self._hosts = hosts
        self._routes = [Route.of(template) for template in settings.routes]
        self._robots = RobotsCache(settings.user_agent, hosts, self._follow) if settings.robots_txt else None

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: FetchSettings) -> AsyncIterator["Fetcher"]:
        """Open connections, with rate limits of their own, until the `with` block ends."""
        hosts = Hosts(settings.max_open, settings.max_open_per_host, settings.delay_per_host)
        async with ImageClient.open(settings) as client:
            yield cls(client, hosts, settings)

    def set_time_limit(self, seconds: float) -> None:
        """Let requests begin for this long from now; those that would begin later end as `deferred`."""
        self._hosts.set_time_limit(seconds)

    async def fetch(self, request: ImageRequest, handler: ImageHandler) -> FetchResult:
        """Try the routes in order until one has an image that the handler keeps; else return the first one's result.

        A host's refusal is final: an archive's copy must not circumvent it. Raises UserError if this machine can't open
        more connections.
        """
        first: FetchResult | None = None
        for template in self._routes:
            route = template.at(request.timestamp)
            url = route.start_url(request.url)
            result = await self._follow(Target(route.address(url), route, handler), url)
            if result.filter or route.is_final(result.reason):
                return result
            first = first or result
        return first or FetchResult(request.url, route="", reason=Reason.HOST_UNAVAILABLE, error="no route to ask")

    async def _follow(self, target: Target, url: str) -> FetchResult:
        """Request a URL and whatever it redirects to, each within the limits of its own host."""
        refusal = await self._refusal(target, url)
        if refusal is not None:
            return refusal
        for _ in range(MAX_REDIRECTS + 1):
            outcome = await self._request_with_retries(target, url)
            if outcome.location is None:
                return outcome.result
            url = target.route.original_url(outcome.location)
            if target.handler.denies(url):
                return replace(outcome.result, reason=Reason.DENIED, error=f"redirected to {url}")
            refusal = await self._refusal(target, url)
            if refusal is not None:
                return replace(refusal, status=outcome.result.status, error=f"redirected to {url}: {refusal.error}")
        return replace(outcome.result, reason=Reason.HTTP_ERROR, error=f"more than {MAX_REDIRECTS} redirects")

    async def _refusal(self, target: Target, url: str) -> FetchResult | None:
        """Return the result for an image whose host's robots.txt forbids it; None if it may be requested."""
        if self._robots is None or target.is_robots_txt:
            return None
        return await self._robots.refusal(target, url)

    async def _request_with_retries(self, target: Target, url: str) -> Outcome:
        """Make a request, and retry if the server is busy or the connection fails, each time within the rate limits.

        The slots are held until the body has been handled: if decoding falls behind, bodies must not pile up in memory.
        """
        outcome: Outcome | None = None
        tries = 0
        while True:
            try:
                async with self._hosts.slot(origin_of(url).host) as host, AsyncExitStack() as stack:
                    outcome = _record(host, await self._client.request(target, url, stack))
                    if outcome.result.reason is None and outcome.location is None:
                        reason = await target.handler.receive(outcome.result)
                        return Outcome(replace(outcome.result, reason=reason)) if reason else outcome
            except SkippedRequestError as skipped:
                return outcome or Outcome(replace(target.empty_result, reason=skipped.reason, error=skipped.text))
            tries += 1
            if outcome.retry_after is None or tries == MAX_TRIES:
                return outcome
            wait = max(outcome.retry_after, _FIRST_BACKOFF * 2 ** (tries - 1))
            _log.debug("%s: %s; retry in %.1f s", url, outcome.result.error, wait)
            await asyncio.sleep(wait)


def _record(host: Host, outcome: Outcome) -> Outcome:
    """Note how the host responded; return the outcome, without a retry if the host wants too long a wait."""
    result = outcome.result
    if result.status is None:
        if result.reason in (Reason.TIMEOUT, Reason.HOST_UNAVAILABLE):
            host.record_failure(result.error or "")
        return outcome
    if is_server_failure(result.status):
        host.record_failure(f"HTTP {result.status}")
    else:
        host.record_response()
    if outcome.retry_after:
        host.pause(outcome.retry_after)
    if outcome.retry_after is not None and outcome.retry_after > MAX_RETRY_AFTER:
        error = f"asked to wait {outcome.retry_after:.0f} s"
        host.skip(f"host {error}")
        return Outcome(replace(result, error=error))
    return outcome
