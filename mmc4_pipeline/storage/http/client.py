"""Send requests to HTTP servers politely: with a name, at a limited rate, and with patience when a server is busy.

How to do so is given as `HttpSettings`; `client_for` returns this process's client for some settings.
"""

import logging
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from errno import ENOENT
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from mmc4_pipeline.errors import UserError

USER_AGENT = f"mmc4-pipeline/{version('mmc4-pipeline')} (makes image-text datasets from C4 and Common Crawl)"
# What a request costs, as bytes that could be read in its place: 0.1 s until the response begins, at 10 MB/s.
BYTES_OF_A_REQUEST = 1 << 20
LONGEST_RETRY_AFTER = 300.0  # seconds; a server that demands more is not waited for
_TRIES_OF_UNKNOWN_HOST = 3  # for a host that never responded: probably a wrong address, not a busy server
_CONNECTIONS = 32  # kept open per host
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_TEMPORARY = (*_BUSY, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)
_MISSING = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_WITH_CONTENT = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
_HOPELESS = (
    requests.TooManyRedirects,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How to send requests. Times are in seconds; `requests_per_second` applies to each host and process.

    Common Crawl publishes no limit: it serves "a few thousand requests per second combined for everyone", responds 503
    to everyone when it is overloaded, and 403 to clients that continue regardless (status.commoncrawl.org). Twenty is
    1% of that. Twelve tries with these waits take five minutes on average and ten at most.
    """

    user_agent: str = USER_AGENT
    requests_per_second: float = 20.0
    tries: int = 12
    first_wait: float = 1.0
    longest_wait: float = 120.0
    timeout: float = 60.0


class RetryableError(Exception):
    """A failed try that may succeed later. `retry_after` is the wait that the server demands, in seconds."""

    def __init__(self, why: str, retry_after: float = 0.0, *, busy: bool = False) -> None:
        super().__init__(why)
        self.retry_after, self.busy = retry_after, busy


class RateLimiter:
    """Spaces the requests to a host evenly, whichever thread sends them."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait until the next request may be sent."""
        while True:
            with self._lock:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + self._interval
                    return
                wait = self._next - now
            time.sleep(wait)  # then check again: a pause may have begun

    def pause(self, seconds: float) -> None:
        """Let no thread send a request for a while."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class HttpClient:
    """Requests URLs, one try at a time, over connections that stay open. Safe to use from several threads."""

    def __init__(self, settings: HttpSettings) -> None:
        self.settings = settings
        self._limiters: dict[str, RateLimiter] = {}
        self._responded: set[str] = set()
        self._lock = threading.Lock()
        self._session = requests.Session()
        # "identity" requests the stored bytes: a compressed response would have other offsets.
        self._session.headers.update(
            {"User-Agent": settings.user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        )
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.max_redirects = 5
        adapter = _RateLimitedAdapter(self)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def limiter(self, url: str) -> RateLimiter:
        """Return the rate limiter of a URL's host."""
        with self._lock:
            return self._limiters.setdefault(urlsplit(url).netloc, RateLimiter(self.settings.requests_per_second))

    def get(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Send one request and return the response (200, 206 or 416) without reading its body.

        Raises RetryableError if another try may help, FileNotFoundError (404, 410), and UserError otherwise. 403 is
        deliberately fatal: Common Crawl returns it to clients that have exceeded its limits.
        """
        try:
            response = self._session.get(url, headers=headers, stream=True, timeout=self.settings.timeout)
        except requests.RequestException as error:
            if isinstance(error, _HOPELESS) or "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise UserError(f"{url}: cannot be requested ({error}); check the address") from error
            raise RetryableError(f"{type(error).__name__}: {error}") from error
        self._responded.add(urlsplit(url).netloc)
        if response.status_code in _WITH_CONTENT:
            return response
        response.close()
        raise _error_of(url, response)

    def tries(self, url: str) -> int:
        """Return how often to try a URL, which depends on whether its host has ever responded."""
        known = urlsplit(url).netloc in self._responded
        return self.settings.tries if known else min(self.settings.tries, _TRIES_OF_UNKNOWN_HOST)


_clients: dict[HttpSettings, HttpClient] = {}  # of this process
_clients_lock = threading.Lock()


def client_for(settings: HttpSettings) -> HttpClient:
    """Return this process's client for some settings: all that use it share its connections and its rate."""
    with _clients_lock:
        if settings not in _clients:
            _clients[settings] = HttpClient(settings)
        return _clients[settings]


class _RateLimitedAdapter(HTTPAdapter):
    """Delays each request until the rate allows it, including requests that follow a redirect."""

    def __init__(self, client: HttpClient) -> None:
        super().__init__(pool_maxsize=_CONNECTIONS, max_retries=0)
        self._client = client

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Wait, then send."""
        self._client.limiter(request.url or "").wait()
        return super().send(request, *args, **options)


def _error_of(url: str, response: requests.Response) -> Exception:
    """Return the exception for a response that does not have the file's bytes."""
    status = f"HTTP {response.status_code}"
    if response.status_code in _MISSING:
        return FileNotFoundError(ENOENT, status, url)
    if response.status_code in _TEMPORARY:
        return RetryableError(status, retry_after(response.headers), busy=response.status_code in _BUSY)
    return UserError(
        f"{url}: refused ({status} {response.reason}): not allowed, or too many requests (then lower "
        "--cc_requests_per_second and wait a while); continue with --resume"
    )


def retry_after(headers: Mapping[str, str]) -> float:
    """Read Retry-After, seconds or a date (RFC 9110, 10.2.3); 0 if it is missing."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0.0


class RetryState:
    """Counts the failed tries of one read, and waits between them: exponential backoff with full jitter.

    Source of "full jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
    """

    def __init__(self, client: HttpClient, url: str) -> None:
        self._client, self._url = client, url
        self._failures = self._received = 0

    def received(self, count: int) -> None:
        """Note bytes that arrived: the connection of a long file may break often, as long as the read progresses."""
        self._received += count
        if self._received >= BYTES_OF_A_REQUEST:
            self._failures = self._received = 0

    def wait_after(self, error: RetryableError) -> None:
        """Wait after a failed try; raises UserError if it was the last one."""
        self._failures += 1
        self._received = 0
        settings = self._client.settings
        if error.retry_after > LONGEST_RETRY_AFTER:
            raise UserError(
                f"{self._url}: {error}, retry after {error.retry_after:.0f} s; wait, then continue with --resume"
            ) from error
        if self._failures >= self._client.tries(self._url):
            raise UserError(
                f"{self._url}: no response in {self._failures} tries ({error}); try later, with --resume"
            ) from error
        longest = min(settings.longest_wait, settings.first_wait * 2 ** (self._failures - 1))
        wait = error.retry_after + random.uniform(0, longest)
        if error.busy:  # all threads pause: a busy server needs fewer requests from everyone
            self._client.limiter(self._url).pause(wait)
            host = urlsplit(self._url).netloc
            logger.warning("%s: %s; no requests to %s for %.1f s, then retrying", self._url, error, host, wait)
        else:
            logger.warning("%s: %s; retrying in %.1f s", self._url, error, wait)
            time.sleep(wait)
