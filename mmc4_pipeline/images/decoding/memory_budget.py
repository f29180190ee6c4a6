"""A bound on what many threads together take of something, such as memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock


class MemoryBudget:
    """So much room for all. Who needs more than is left waits, and whoever comes later waits behind."""

    def __init__(self, size: int) -> None:
        """Start with all of it free."""
        self._left = size
        self._freed = Condition()
        self._turn = Lock()  # whoever needs much would wait for ever if those who need little went first

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Take so much, at most what there is in all, until the `with` block ends."""
        with self._turn, self._freed:
            self._freed.wait_for(lambda: self._left >= size)
            self._left -= size
        try:
            yield
        finally:
            with self._freed:
                self._left += size
                self._freed.notify()
