"""Limits the requests to a host, and slows down when the host refuses them."""

import random
import threading
import time

_RECOVERY = 300.0  # seconds after a pause until the full rate is reached again
_SLOWEST = 1 / 16  # of the full rate
_JITTER = 0.25  # so that the processes of a run do not all come back at the same moment
_MOST_DOUBLINGS = 30


class RateLimiter:
    """Spaces the requests to a host evenly, whichever thread sends them.

    When the host pushes back, all threads pause, each time twice as long as before until a request succeeds. After a
    pause the rate is half of what it was, and rises to the full rate again.
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._next = 0.0  # when the next request may be sent
        self._pause_begin = self._pause_end = 0.0  # of the last pause
        self._pauses = 0  # since a request succeeded
        self._share = 1.0  # of the full rate, at the end of the last pause
        self._lock = threading.Lock()

    def wait(self) -> float:
        """Wait until the next request may be sent; return the time, by the monotonic clock."""
        while True:
            with self._lock:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + self._interval / self._share_at(now)
                    return now
                wait = self._next - now
            time.sleep(wait)  # then check again: a pause may have begun

    def push_back(self, sent: float, first: float, longest: float, at_least: float) -> float | None:
        """Begin a pause because of a request that was sent at some time; return the length of the pause in seconds.

        Return None if the request was sent before another pause began, which is then long enough for both. `first` is
        the length of the first pause, doubled each time up to `longest`; the host demands `at_least`.
        """
        with self._lock:
            now = time.monotonic()
            late = sent <= self._pause_begin
            pause = at_least
            if not late:
                doubled = min(longest, first * 2.0 ** min(self._pauses, _MOST_DOUBLINGS))
                pause = max(at_least, doubled * random.uniform(1.0, 1.0 + _JITTER))
                self._share = max(_SLOWEST, self._share_at(now) / 2)
                self._pauses += 1
                self._pause_begin = now
            self._pause_end = max(self._pause_end, now + pause)
            self._next = max(self._next, self._pause_end)
            return None if late else pause

    def succeeded(self, sent: float) -> None:
        """Note a response with content: the next pause is a short one again."""
        with self._lock:
            if sent > self._pause_begin:
                self._pauses = 0

    def _share_at(self, now: float) -> float:
        return min(1.0, self._share + max(0.0, now - self._pause_end) / _RECOVERY)
