"""A clock that only sleeping moves, so that waits are counted instead of timed."""

import threading

import pytest

from mmc4_pipeline.storage.http import client, rate_limit


class VirtualClock:
    """Stands in for the module `time` of the HTTP client. Threads may sleep at the same time."""

    def __init__(self) -> None:
        self._now, self._lock = 1000.0, threading.Lock()

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        end = self._now + seconds
        with self._lock:
            self._now = max(self._now, end)


def virtual_clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    """Return a clock that the HTTP client uses instead of the real one."""
    clock = VirtualClock()
    monkeypatch.setattr(client, "time", clock)
    monkeypatch.setattr(rate_limit, "time", clock)
    return clock
