"""Lets several scorers read the pictures of a shard in step, so that each is read and decoded once."""

from collections import deque
from collections.abc import Iterator
from math import inf
from threading import Condition

from mmc4_pipeline.scoring.picture import Picture

AHEAD = 256  # pictures by which one scorer may be ahead of another: as many are in memory


class SharedPictures:
    """Pictures for a number of readers, each in a thread of its own. A reader that is too far ahead waits."""

    def __init__(self, pictures: Iterator[Picture], readers: int) -> None:
        self._pictures = pictures
        self._next: list[float] = [0] * readers  # number of the picture that each reader wants next
        self._window: deque[Picture] = deque()
        self._first = 0  # number of the first picture in the window
        self._error: Exception | None = None
        self._changed = Condition()

    def read(self, reader: int) -> Iterator[Picture]:
        """Yield all pictures for a reader. Errors of reading are raised for every reader."""
        try:
            while (picture := self._take(reader)) is not None:
                yield picture
        finally:
            self.leave(reader)

    def leave(self, reader: int) -> None:
        """Let the others go on without a reader, which has ended or never begun."""
        with self._changed:
            self._next[reader] = inf
            self._forget()

    def _take(self, reader: int) -> Picture | None:
        with self._changed:
            self._changed.wait_for(lambda: self._next[reader] < min(self._next) + AHEAD)
            at = int(self._next[reader]) - self._first
            if at == len(self._window):
                picture = self._read()
                if picture is None:
                    return None
                self._window.append(picture)
            picture = self._window[at]
            self._next[reader] += 1
            self._forget()
            return picture

    def _read(self) -> Picture | None:
        if self._error:  # an iterator that has failed looks like one that has ended
            raise self._error
        try:
            return next(self._pictures, None)
        except Exception as error:
            self._error = error
            raise

    def _forget(self) -> None:
        """Forget the pictures that every reader has seen."""
        while self._window and self._first < min(self._next):
            self._window.popleft()
            self._first += 1
        self._changed.notify_all()
