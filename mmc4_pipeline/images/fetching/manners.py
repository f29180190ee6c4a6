"""Manners towards hosts: how many requests at a time, how far apart, and when a host is left alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf

from schemas.reasons import Reason

FAILURES_IN_A_ROW = 10  # requests that never got an answer, or one of 429 and 5xx; a host is given up then


class NoTurnError(Exception):
    """Says that a request is not to be made, and for which reason its image is dropped."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


@dataclass(slots=True)
class Host:
    """How a host does, and who waits for it. Times are in seconds, moments are the event loop's."""

    places: asyncio.Semaphore
    delay: float
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    next_start: float = 0.0
    failures: int = 0
    left_alone: str | None = None  # why it is asked no more

    def answered(self) -> None:
        """Note an answer, whatever it said."""
        self.failures = 0

    def failed(self, why: str) -> None:
        """Note a request that came to nothing because of the host; too many in a row, and it is given up."""
        self.failures += 1
        if self.failures >= FAILURES_IN_A_ROW and self.left_alone is None:
            self.left_alone = f"host given up after {self.failures} failed requests in a row: {why}"

    def pause(self, seconds: float) -> None:
        """Let no request begin for a time, of whichever image."""
        self.next_start = max(self.next_start, asyncio.get_running_loop().time() + seconds)


class Hosts:
    """Gives requests their turns: within the limits of their host and of all, and before the time is over.

    A request waits for its host first and only then for a place among all, so that a slow host holds up itself.
    """

    def __init__(self, max_open: int, max_open_per_host: int, delay: float) -> None:
        """Start with hosts of which nothing is known."""
        self._all = asyncio.Semaphore(max_open)
        self._max_open_per_host, self._delay = max_open_per_host, delay
        self._hosts: dict[str, Host] = {}
        self._deadline = inf

    def give_time(self, seconds: float) -> None:
        """Let requests begin for so many seconds from now."""
        self._deadline = asyncio.get_running_loop().time() + seconds

    def of(self, name: str) -> Host:
        """Give what is known of a host."""
        known = self._hosts.get(name)
        if known is None:
            known = self._hosts[name] = Host(asyncio.Semaphore(self._max_open_per_host), self._delay)
        return known

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[Host]:
        """Wait for a request's turn and hold its places until it is done with; raises NoTurnError."""
        host = self.of(name)
        async with host.places:
            async with host.starting:  # one after another: each start sets the time of the next
                await self._wait(host)
                await self._all.acquire()
                host.next_start = max(host.next_start, asyncio.get_running_loop().time() + host.delay)
            try:
                self._refuse(host)  # it may have been given up meanwhile
                yield host
            finally:
                self._all.release()

    async def _wait(self, host: Host) -> None:
        now = asyncio.get_running_loop().time
        while not host.left_alone and (wait := min(host.next_start, self._deadline) - now()) > 0:  # noqa: ASYNC110 - no polling: the moment may move
            await asyncio.sleep(wait)
        self._refuse(host)

    def _refuse(self, host: Host) -> None:
        if host.left_alone:
            raise NoTurnError(Reason.HOST_UNAVAILABLE, host.left_alone)
        if asyncio.get_running_loop().time() >= self._deadline:
            raise NoTurnError(Reason.DEFERRED, "the shard's time was over before its turn came")
