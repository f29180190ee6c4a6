"""Rate limits: how many requests are open at a time, how far apart they start, and when a host is skipped."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf

from schemas.reasons import Reason

MAX_FAILURES_IN_A_ROW = 10  # requests without a response, or with one of 429 and 5xx; then the host is skipped
_NOTABLE_PAUSE = 5.0  # seconds; shorter pauses are routine and are not worth a warning

_log = logging.getLogger(__name__)


class SkippedRequestError(Exception):
    """Raised in place of a request that must not be made, with the reason for which its image is dropped."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


@dataclass(slots=True)
class Host:
    """The state of one host and the requests that wait for it. Times are the event loop's, in seconds."""

    name: str
    slots: asyncio.Semaphore
    delay: float
    start_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    next_start: float = 0.0
    failures: int = 0
    skipped: str | None = None  # why no more requests are made to it

    def record_response(self) -> None:
        """Note that the host responded, whatever the response."""
        self.failures = 0

    def record_failure(self, why: str) -> None:
        """Note a request that failed because of the host; too many in a row, and the host is skipped."""
        self.failures += 1
        if self.failures >= MAX_FAILURES_IN_A_ROW:
            self.skip(f"host given up after {self.failures} failed requests in a row: {why}")

    def skip(self, why: str) -> None:
        """Make no more requests to this host."""
        if self.skipped is None:
            _log.warning("%s: no more requests: %s", self.name, why)
            self.skipped = why

    def pause(self, seconds: float) -> None:
        """Let no request to this host begin for some time, for any image."""
        level = logging.WARNING if seconds >= _NOTABLE_PAUSE else logging.INFO
        _log.log(level, "%s: busy, no requests for %.0f s", self.name, seconds)
        self.next_start = max(self.next_start, asyncio.get_running_loop().time() + seconds)


class Hosts:
    """Hands out slots for requests, within the limits for each host and for all hosts together, until the deadline.

    A request waits for its own host first and only then for one of the slots shared by all hosts, so that a slow host
    delays only itself.
    """

    def __init__(self, max_open: int, max_open_per_host: int, delay: float) -> None:
        """Start without knowing any host."""
        self._slots = asyncio.Semaphore(max_open)
        self._max_open_per_host, self._delay = max_open_per_host, delay
        self._hosts: dict[str, Host] = {}
        self._deadline = inf

    def set_time_limit(self, seconds: float) -> None:
        """Let requests begin for this long from now."""
        self._deadline = asyncio.get_running_loop().time() + seconds

    def get(self, name: str) -> Host:
        """Return the state of a host."""
        known = self._hosts.get(name)
        if known is None:
            known = self._hosts[name] = Host(name, asyncio.Semaphore(self._max_open_per_host), self._delay)
        return known

    @asynccontextmanager
    async def slot(self, name: str) -> AsyncIterator[Host]:
        """Wait until a request to a host may begin, and hold its slots for the `with` block.

        Raises SkippedRequestError if the request must not be made.
        """
        host = self.get(name)
        async with host.slots:
            async with host.start_lock:  # one after another: each start determines the time of the next
                await self._wait(host)
                await self._slots.acquire()
                host.next_start = max(host.next_start, asyncio.get_running_loop().time() + host.delay)
            try:
                self._check(host)  # it may have been skipped in the meantime
                yield host
            finally:
                self._slots.release()

    async def _wait(self, host: Host) -> None:
        now = asyncio.get_running_loop().time
        while not host.skipped and (wait := min(host.next_start, self._deadline) - now()) > 0:  # noqa: ASYNC110 - this does not poll: the time may move
            await asyncio.sleep(wait)
        self._check(host)

    def _check(self, host: Host) -> None:
        if host.skipped:
            raise SkippedRequestError(Reason.HOST_UNAVAILABLE, host.skipped)
        if asyncio.get_running_loop().time() >= self._deadline:
            raise SkippedRequestError(Reason.DEFERRED, "the shard's time was over before its turn came")
