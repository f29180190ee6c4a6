"""Rate limits of one process: how many requests a host gets at a time, how far apart, and when it gets none.

- A host of one site has `max_open_per_host` slots, and requests start `delay_per_host` (or its Crawl-delay) apart.
- A host that serves images to the pages of many sites is infrastructure, such as a CDN: its limits are multiplied by
  the number of sites that use it in this process, up to `max_open_per_shared_host` slots.
- All hosts of a registered domain together have `max_open_per_shared_host` slots, so that the subdomains of one
  provider do not add up.
- A host that pushes back (429, 503) is paused and then probed with one request. From then on it gets half as many
  requests as before; each response restores a little (additive increase, multiplicative decrease, as in RFC 5681). A
  host that does not respond, or breaks connections, is slowed down in the same way.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from mmc4_pipeline.naming import registered_domain
from schemas.reasons import Reason

MAX_FAILURES_IN_A_ROW = 10  # requests without a response, or with a 5xx status; then the host is skipped
MAX_PUSHBACKS_IN_A_ROW = 8  # pauses without any other response in between; then the host's images are deferred
SKIPPED_SECONDS = 1800.0  # after which a skipped host gets another chance, for other shards
MAX_PAUSE = 3600.0  # seconds; a host that wants a longer pause is skipped
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 300.0  # seconds, if the host does not say how long; doubled each time
_SLOWEST = 1 / 16  # of the normal rate
_RECOVERY = 0.02  # of the normal rate, for each response
_REMEMBERED = 0.99  # of the refusals, after each response
_MAX_IDLE_HOSTS = 50_000
_NOTABLE_PAUSE = 5.0  # seconds; shorter pauses are routine and are not worth a warning

_log = logging.getLogger(__name__)


class SkippedRequestError(Exception):
    """Raised in place of a request that must not be made, with the reason for which its image is dropped."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


@dataclass(frozen=True, slots=True)
class Limits:
    """Slots and seconds between starts: see the module's description.

    With `last_chance`, a host that responds with nothing but 503 is unavailable; without, its images are deferred.
    """

    max_open: int
    max_open_per_host: int
    max_open_per_shared_host: int
    delay_per_host: float
    last_chance: bool = False


@dataclass(slots=True)
class Domain:
    """The state that all hosts of a registered domain share."""

    slots: asyncio.Semaphore
    delay: float
    next_start: float = 0.0

    def take_start(self, now: float) -> float:
        """Take a start time, so that the hosts of the domain start requests one after another; return it."""
        start = max(now, self.next_start)
        self.next_start = start + self.delay
        return start


@dataclass(slots=True)
class Host:
    """The state of one host and the requests that wait for it. Times are the event loop's, in seconds."""

    name: str
    limits: Limits
    domain: Domain
    time: Callable[[], float]  # the event loop's
    crawl_delay: float = 0.0
    sites: Counter[str] = field(default_factory=Counter)  # pending images by the site of their page
    start_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    open: int = 0
    next_start: float = 0.0
    health: float = 1.0  # share of the normal rate
    pushbacks: int = 0
    failures: int = 0
    answered: int = 0  # requests so far with a normal response
    refused: float = 0.0  # requests lately with a 429 or 503; a hundred normal responses later they hardly count
    skipped: SkippedRequestError | None = None
    skipped_until: float = 0.0
    _slowed_at: float = -inf
    _waiter: asyncio.Future[None] | None = None

    @property
    def share(self) -> float:
        """Return by how much the limits of a host of one site are multiplied."""
        most = self.limits.max_open_per_shared_host / self.limits.max_open_per_host
        return max(1.0, min(len(self.sites), most))

    @property
    def max_open(self) -> int:
        """Return the number of slots: a single one to probe a host that pushed back."""
        return 1 if self.pushbacks else max(1, int(self.limits.max_open_per_host * self.share * self.health))

    @property
    def delay(self) -> float:
        """Return the seconds between the starts of two requests. A Crawl-delay is not divided among sites."""
        return max(self.limits.delay_per_host / self.share, self.crawl_delay) / self.health

    def record_response(self) -> None:
        """Note that the host responded normally, whatever the response."""
        self.failures = self.pushbacks = 0
        self.answered += 1
        self.health = min(1.0, self.health + _RECOVERY)
        self.refused *= _REMEMBERED
        self.notify()

    def record_failure(self, why: str, started: float | None) -> None:
        """Note a request that failed because of the host; too many in a row, and the host is skipped.

        If the failure may be due to too many requests, `started` is when the request was made.
        """
        if started is not None:
            self.slow_down(started)
        self.failures += 1
        if self.failures >= MAX_FAILURES_IN_A_ROW:
            text = f"host given up after {self.failures} failed requests in a row: {why}"
            self._skip(SkippedRequestError(Reason.HOST_UNAVAILABLE, text))

    def record_pushback(self, retry_after: float, started: float, *, is_explicit: bool) -> None:
        """Pause a host that pushed back; requests that started before the last pause count as one.

        `is_explicit` is false for a 503, which may also mean that the host will never work: at the last chance its
        images are dropped if it does not respond otherwise.
        """
        self.refused += 1
        if self.slow_down(started):
            self.pushbacks += 1
        if self.pushbacks > MAX_PUSHBACKS_IN_A_ROW:
            is_final = self.limits.last_chance and not is_explicit
            text = f"host still busy after {MAX_PUSHBACKS_IN_A_ROW} pauses"
            self._skip(SkippedRequestError(Reason.HOST_UNAVAILABLE if is_final else Reason.DEFERRED, text))
        else:
            self.pause(max(retry_after, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (self.pushbacks - 1))))

    def pause(self, seconds: float) -> None:
        """Let no request to this host begin for some time."""
        if seconds > MAX_PAUSE:
            self._skip(SkippedRequestError(Reason.DEFERRED, f"host busy: asked to wait {seconds:.0f} s"), seconds)
        elif seconds:
            end = self.time() + seconds
            if end > self.next_start + seconds / 2:  # otherwise another request has just got the same response
                level = logging.WARNING if seconds >= _NOTABLE_PAUSE else logging.INFO
                _log.log(level, "%s: busy, no requests for %.0f s", self.name, seconds)
            self.next_start = max(self.next_start, end)

    def slow_down(self, started: float) -> bool:
        """Halve the rate, once for all requests that were open together; return whether it was halved."""
        if started < self._slowed_at:
            return False
        self._slowed_at = self.time()
        self.health = max(_SLOWEST, self.health / 2)
        return True

    def _skip(self, error: SkippedRequestError, seconds: float = SKIPPED_SECONDS) -> None:
        if not self.is_skipped:
            _log.warning("%s: no more requests: %s", self.name, error.text)
            self.skipped, self.skipped_until = error, self.time() + seconds
            self.failures = self.pushbacks = 0
        self.notify()

    @property
    def is_skipped(self) -> bool:
        """Return whether the host gets no requests at present."""
        return self.skipped is not None and self.time() < self.skipped_until

    @property
    def is_idle(self) -> bool:
        """Return whether nothing would be lost if this state were forgotten."""
        now = self.time()
        busy = self.open or self.sites or self.start_lock.locked() or self.is_skipped
        return not busy and self.health == 1.0 and self.next_start <= now

    def notify(self) -> None:
        """Let the first waiting request look at the limits again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Wait until something changes, or for some seconds."""
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = None if seconds == inf else loop.call_later(seconds, self.notify)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()


class Hosts:
    """Hands out slots to requests, within the limits of their host, its domain and the process, before their deadline.

    A request waits for its own host first, then for the domain, and only then for one of the slots that all hosts
    share, so that a slow host delays only itself.
    """

    def __init__(self, limits: Limits) -> None:
        """Start without knowing any host."""
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.max_open)
        self._hosts: dict[str, Host] = {}
        self._domains: dict[str, Domain] = {}

    def get(self, name: str) -> Host:
        """Return the state of a host."""
        known = self._hosts.get(name)
        if known is None:
            if len(self._hosts) >= _MAX_IDLE_HOSTS:
                self._forget_idle_hosts()
            time = asyncio.get_running_loop().time
            known = self._hosts[name] = Host(name, self._limits, self._domain(name), time)
        return known

    def _domain(self, host: str) -> Domain:
        name = registered_domain(f"//{host}") or host
        if name not in self._domains:
            limits = self._limits
            slots = asyncio.Semaphore(max(limits.max_open_per_shared_host, limits.max_open_per_host))
            delay = limits.delay_per_host * limits.max_open_per_host / limits.max_open_per_shared_host
            self._domains[name] = Domain(slots, min(delay, limits.delay_per_host))
        return self._domains[name]

    def _forget_idle_hosts(self) -> None:
        self._hosts = {name: host for name, host in self._hosts.items() if not host.is_idle}
        used = {id(host.domain) for host in self._hosts.values()}
        self._domains = {name: domain for name, domain in self._domains.items() if id(domain) in used}

    async def acquire(self, name: str, deadline: float) -> Host:
        """Wait until a request to a host may begin, and take its slots, which `release` returns.

        Raises SkippedRequestError if the request must not be made, or could not begin before the deadline.
        """
        host = self.get(name)
        async with host.start_lock:  # one after another: each start determines the time of the next
            while True:
                await self._wait(host, deadline)
                await host.domain.slots.acquire()
                await self._slots.acquire()
                now = host.time()
                if not host.is_skipped and host.next_start <= now and host.open < host.max_open:
                    break
                self._release(host)  # it pushed back while the request waited for the others
            host.open += 1
            host.next_start = max(host.next_start, now + host.delay)
        return host

    def release(self, host: Host) -> None:
        """Return the slots of a request that has ended, and whose result has been used."""
        host.open -= 1
        self._release(host)
        host.notify()

    async def _wait(self, host: Host, deadline: float) -> None:
        """Wait until the host and its domain are ready for a request."""
        while True:
            if host.is_skipped and host.skipped is not None:
                raise host.skipped
            start, now = host.next_start, host.time()
            if start >= deadline or now >= deadline:
                raise SkippedRequestError(Reason.DEFERRED, "the shard's time was over before its turn came")
            if host.open >= host.max_open:
                await host.wait(deadline - now)
            elif start > now:
                await host.wait(start - now)
            else:
                break
        if (seconds := host.domain.take_start(now) - now) > 0:
            await asyncio.sleep(seconds)

    def _release(self, host: Host) -> None:
        self._slots.release()
        host.domain.slots.release()
