"""Asks HTTP servers politely: says who asks, keeps to a number of requests a second, has patience with busy servers."""

import logging
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from errno import ENOENT
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from mmc4_pipeline.errors import UserError

USER_AGENT = f"mmc4-pipeline/{version('mmc4-pipeline')} (makes image-text datasets from C4 and Common Crawl)"
# What a request costs, in bytes that could be read instead: 0.1 s until its answer begins, at 10 MB/s.
BYTES_OF_A_REQUEST = 1 << 20
LONGEST_RETRY_AFTER = 300.0  # seconds; who asks for more is not waited for
_TRIES_OF_UNKNOWN_HOST = 3  # of a host that never answered: rather a wrong address than a busy server
_CONNECTIONS = 32  # kept open to a host
_BUSY = (429, 503)
_PASSING = (*_BUSY, 500, 502, 504)
_GONE = (404, 410)
_NEVER = (
    requests.TooManyRedirects,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
)


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How to ask. Times are in seconds; `requests_per_second` is for each host, by this process.

    Common Crawl says no number: it serves "a few thousand requests per second combined for everyone", answers 503 to
    all when it has too many, and refuses those who go on with 403 (status.commoncrawl.org). Twenty is 1% of that.
    Twelve tries with these waits take five minutes on average, ten at most.
    """

    user_agent: str = USER_AGENT
    requests_per_second: float = 20.0
    tries: int = 12
    first_wait: float = 1.0
    longest_wait: float = 120.0
    timeout: float = 60.0


class RetryableError(Exception):
    """A try that failed in a way that may pass. `retry_after` is what the server asked for, in seconds."""

    def __init__(self, why: str, retry_after: float = 0.0, *, busy: bool = False) -> None:
        super().__init__(why)
        self.retry_after, self.busy = retry_after, busy


class RateLimiter:
    """Gives the requests to a host their turns, evenly spaced, whichever thread asks."""

    def __init__(self, per_second: float) -> None:
        self._apart = 1 / per_second
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for the next turn."""
        while True:
            with self._lock:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + self._apart
                    return
                wait = self._next - now
            time.sleep(wait)  # and look again: a pause may have begun

    def pause(self, seconds: float) -> None:
        """Let nobody ask for a time."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class HttpClient:
    """Asks for URLs, one try at a time; connections stay alive. Safe to use from several threads."""

    def __init__(self, settings: HttpSettings) -> None:
        self.settings = settings
        self._turns: dict[str, RateLimiter] = {}
        self._answered: set[str] = set()
        self._lock = threading.Lock()
        self._session = requests.Session()
        # "identity": the stored bytes are wanted; what is sent compressed has other offsets.
        self._session.headers.update(
            {"User-Agent": settings.user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        )
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.max_redirects = 5
        adapter = _PoliteAdapter(self)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def turns(self, url: str) -> RateLimiter:
        """Give the turns of a URL's host."""
        with self._lock:
            return self._turns.setdefault(urlsplit(url).netloc, RateLimiter(self.settings.requests_per_second))

    def get(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Ask once and give the response, its body unread: 200, 206 or 416.

        Raises RetryableError if another try may help, FileNotFoundError (404, 410), UserError for all else. 403 is
        deliberately fatal: Common Crawl returns it to clients that have exceeded its limits.
        """
        try:
            response = self._session.get(url, headers=headers, stream=True, timeout=self.settings.timeout)
        except requests.RequestException as error:
            if isinstance(error, _NEVER) or "CERTIFICATE_VERIFY_FAILED" in str(error):
                message = f"{url}: cannot be asked for ({error}); check the address"
                raise UserError(message) from error
            why = f"{type(error).__name__}: {error}"
            raise RetryableError(why) from error
        self._answered.add(urlsplit(url).netloc)
        if response.status_code in (200, 206, 416):
            return response
        response.close()
        raise _refusal(url, response)

    def tries(self, url: str) -> int:
        """Give the number of tries that are right for a URL's host."""
        known = urlsplit(url).netloc in self._answered
        return self.settings.tries if known else min(self.settings.tries, _TRIES_OF_UNKNOWN_HOST)


class _PoliteAdapter(HTTPAdapter):
    """Lets each request wait for its turn, those that follow a redirect too."""

    def __init__(self, client: HttpClient) -> None:
        super().__init__(pool_maxsize=_CONNECTIONS, max_retries=0)
        self._client = client

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send in turn."""
        self._client.turns(request.url or "").wait()
        return super().send(request, *args, **options)


def _refusal(url: str, response: requests.Response) -> Exception:
    """Give the exception for a status that is no answer."""
    status = f"HTTP {response.status_code}"
    if response.status_code in _GONE:
        return FileNotFoundError(ENOENT, status, url)
    if response.status_code in _PASSING:
        return RetryableError(status, retry_after(response.headers), busy=response.status_code in _BUSY)
    message = (
        f"{url}: refused ({status} {response.reason}): not allowed, or asked too often (then lower "
        "--cc_requests_per_second and wait a while); continue with --resume"
    )
    return UserError(message)


def retry_after(headers: Mapping[str, str]) -> float:
    """Read Retry-After, seconds or a date (RFC 9110, 10.2.3); 0 where there is none."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0.0


class RetryState:
    """Counts what one read has borne, and waits between its tries: exponential backoff with full jitter.

    Source of "full jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
    """

    def __init__(self, client: HttpClient, url: str) -> None:
        self._client, self._url = client, url
        self._failures = self._received = 0

    def received(self, count: int) -> None:
        """Note bytes that came: a long file may break often, as long as it gets on."""
        self._received += count
        if self._received >= BYTES_OF_A_REQUEST:
            self._failures = self._received = 0

    def bear(self, trouble: RetryableError) -> None:
        """Wait as long as is right after a failed try; raises UserError where it was one too many."""
        self._failures += 1
        self._received = 0
        settings = self._client.settings
        if trouble.retry_after > LONGEST_RETRY_AFTER:
            message = (
                f"{self._url}: {trouble}, and asks to be left alone for {trouble.retry_after:.0f} s; "
                "continue then with --resume"
            )
            raise UserError(message) from trouble
        if self._failures >= self._client.tries(self._url):
            message = f"{self._url}: no answer in {self._failures} tries ({trouble}); try later, with --resume"
            raise UserError(message) from trouble
        longest = min(settings.longest_wait, settings.first_wait * 2 ** (self._failures - 1))
        wait = trouble.retry_after + random.uniform(0, longest)
        if trouble.busy:
            self._client.turns(self._url).pause(wait)  # all threads: a busy server wants to hear less of everybody
        logging.getLogger(__name__).warning("%s: %s; next try in %.1f s", self._url, trouble, wait)
        if not trouble.busy:
            time.sleep(wait)


_client = HttpClient(HttpSettings())


def use(settings: HttpSettings) -> None:
    """Ask in this way from now on, in this process."""
    global _client  # noqa: PLW0603 - paths are all that reaches the places where files are opened
    if settings != _client.settings:
        _client = HttpClient(settings)


def client() -> HttpClient:
    """Give the client of this process."""
    return _client
