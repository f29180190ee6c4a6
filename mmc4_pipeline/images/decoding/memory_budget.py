"""Limits how much memory all threads of a process use together."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock


class MemoryBudget:
    """A shared budget. A caller that needs more than remains blocks, and later callers queue behind it."""

    def __init__(self, size: int) -> None:
        """Start with everything available."""
        self._remaining = size
        self._freed = Condition()
        self._queue = Lock()  # without a queue, small requests could keep a large one waiting forever

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Reserve a size, at most the whole budget, for the `with` block."""
        with self._queue, self._freed:
            self._freed.wait_for(lambda: self._remaining >= size)
            self._remaining -= size
        try:
            yield
        finally:
            with self._freed:
                self._remaining += size
                self._freed.notify()
