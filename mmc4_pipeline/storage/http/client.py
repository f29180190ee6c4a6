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
from mmc4_pipeline.storage.http.rate_limit import RateLimiter

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
    to everyone when it is overloaded, and 403 to clients that exceed its own limits (status.commoncrawl.org). Twenty is
    1% of that. With twelve tries, pauses after 503 add up to eleven minutes and those after 403 to 23 minutes.
    """

    user_agent: str = USER_AGENT
    requests_per_second: float = 20.0
    tries: int = 12
    first_wait: float = 1.0
    first_wait_if_refused: float = 60.0  # after 403
    longest_wait: float = 120.0
    timeout: float = 60.0


class RetryableError(Exception):
    """A failed try that may succeed later. `retry_after` is the wait that the server demands, in seconds.

    `busy` means that the server has too many requests, `refused` that it does not say why it refuses: too many requests
    or no permission.
    """

    def __init__(self, why: str, retry_after: float = 0.0, *, busy: bool = False, refused: bool = False) -> None:
        super().__init__(why)
        self.retry_after, self.busy, self.refused = retry_after, busy, refused


class HttpClient:
    """Requests URLs, one try at a time, over connections that stay open. Safe to use from several threads."""

    def __init__(self, settings: HttpSettings) -> None:
        self.settings = settings
        self._limiters: dict[str, RateLimiter] = {}
        self._responded: set[str] = set()  # hosts
        self._served: set[str] = set()  # hosts that did not refuse every request
        self._lock = threading.Lock()
        self._of_thread = threading.local()
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

    def note_sent(self, sent: float) -> None:
        """Note when this thread sent its last request."""
        self._of_thread.sent = sent

    def push_back(self, url: str, first: float, at_least: float) -> float | None:
        """Pause all requests to the host of the URL that this thread has requested, unless they are paused already.

        Return the length of a new pause in seconds.
        """
        return self.limiter(url).push_back(self._of_thread.sent, first, self.settings.longest_wait, at_least)

    def get(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Send one request and return the response (200, 206 or 416) without reading its body.

        Raises RetryableError if another try may help, FileNotFoundError (404, 410), and UserError otherwise. After 403
        another try may help: Common Crawl sends it to clients that have exceeded its limits.
        """
        try:
            response = self._session.get(url, headers=headers, stream=True, timeout=self.settings.timeout)
        except requests.RequestException as error:
            if isinstance(error, _HOPELESS) or "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise UserError(f"{url}: cannot be requested ({error}); check the address") from error
            raise RetryableError(f"{type(error).__name__}: {error}") from error
        host = urlsplit(url).netloc
        self._responded.add(host)
        if response.status_code in (*_WITH_CONTENT, *_MISSING):
            self._served.add(host)
            self.limiter(url).succeeded(self._of_thread.sent)
        if response.status_code in _WITH_CONTENT:
            return response
        response.close()
        raise _error_of(url, response)

    def tries(self, url: str, *, refused: bool) -> int:
        """Return how often to try a URL: fewer times if its host has never responded, or has refused every request."""
        known = urlsplit(url).netloc in (self._served if refused else self._responded)
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
        self._client.note_sent(self._client.limiter(request.url or "").wait())
        return super().send(request, *args, **options)


def _error_of(url: str, response: requests.Response) -> Exception:
    """Return the exception for a response that does not have the file's bytes."""
    status = f"HTTP {response.status_code}"
    if response.status_code in _MISSING:
        return FileNotFoundError(ENOENT, status, url)
    busy, refused = response.status_code in _BUSY, response.status_code == HTTPStatus.FORBIDDEN
    if refused or response.status_code in _TEMPORARY:
        return RetryableError(status, retry_after(response.headers), busy=busy, refused=refused)
    return UserError(f"{url}: refused ({status} {response.reason}); check the address and your access to it")


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
        """Wait after a failed try, or let all threads wait; raises UserError if it was the last one."""
        self._failures += 1
        self._received = 0
        settings = self._client.settings
        if error.retry_after > LONGEST_RETRY_AFTER:
            raise UserError(
                f"{self._url}: {error}, retry after {error.retry_after:.0f} s; wait, then continue with --resume"
            ) from error
        if self._failures >= self._client.tries(self._url, refused=error.refused):
            raise UserError(f"{self._url}: {_remedy(error, self._failures)}") from error
        if error.busy or error.refused:  # all threads pause: such a server needs fewer requests from everyone
            self._pause(settings.first_wait_if_refused if error.refused else settings.first_wait, error)
            return
        longest = min(settings.longest_wait, settings.first_wait * 2 ** (self._failures - 1))
        wait = error.retry_after + random.uniform(0, longest)
        logger.warning("%s: %s; retrying in %.1f s", self._url, error, wait)
        time.sleep(wait)

    def _pause(self, first: float, error: RetryableError) -> None:
        """Let no thread send a request to the host for a while; the next one waits in the rate limiter."""
        pause = self._client.push_back(self._url, first, error.retry_after)
        if pause is not None:
            host = urlsplit(self._url).netloc
            logger.warning("%s: %s; no requests to %s for %.1f s, then slower", self._url, error, host, pause)


def _remedy(error: RetryableError, failures: int) -> str:
    """Return what happened in the last try, and what to do."""
    slower = "lower --cc_requests_per_second, wait an hour, then continue with --resume"
    if error.refused:
        return f"refused in {failures} tries ({error}); you may not read it, or sent too many requests: {slower}"
    if error.busy:
        return f"no response in {failures} tries ({error}); the server has too many requests: {slower}"
    return f"no response in {failures} tries ({error}); try later, with --resume"
