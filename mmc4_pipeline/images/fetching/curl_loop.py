"""Runs libcurl's transfers in an asyncio event loop."""

import asyncio
import select
from collections.abc import Callable
from contextlib import suppress
from math import inf

import pycurl

Done = Callable[[int, str], None]  # receives libcurl's result code (0: no error) and its message
_EVENTS = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_MAX_EVENTS = 128  # handled in one turn of the event loop, so that other tasks get theirs


class CurlLoop:
    """A libcurl multi handle, with its connections, that is driven by the running event loop.

    libcurl says which sockets to watch and when to wake it; see https://curl.se/libcurl/c/libcurl-multi.html. An epoll
    of its own watches the sockets, and the event loop watches that: libcurl changes what it watches several times per
    request, and the event loop's own bookkeeping would take longer than reading an image.
    """

    def __init__(self, max_idle: int) -> None:
        """Keep at most `max_idle` unused connections alive."""
        self._loop = asyncio.get_running_loop()
        self._running: dict[pycurl.Curl, Done] = {}
        self._sockets = select.epoll()
        self._loop.add_reader(self._sockets.fileno(), self._act_on_sockets)
        self._timer: asyncio.TimerHandle | None = None  # never later than _due, but perhaps earlier
        self._due = inf
        self._soon: asyncio.Handle | None = None  # acts in the next turn of the event loop
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_idle)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def start(self, curl: pycurl.Curl, done: Done) -> None:
        """Start a transfer; `done` is called once it has ended, unless `stop` is called before."""
        self._running[curl] = done
        self._multi.add_handle(curl)

    def stop(self, curl: pycurl.Curl) -> None:
        """End a transfer, and close its connection if it had not ended."""
        if self._running.pop(curl, None) is not None:
            self._multi.remove_handle(curl)

    def close(self) -> None:
        """Stop all transfers and close all connections."""
        for curl in list(self._running):
            self.stop(curl)
        self._multi.close()
        self._loop.remove_reader(self._sockets.fileno())
        self._sockets.close()
        for planned in (self._timer, self._soon):  # libcurl may plan these while its transfers are stopped
            if planned is not None:
                planned.cancel()

    def _watch(self, event: int, fd: int, _multi: pycurl.CurlMulti, _data: object) -> None:
        if event == pycurl.POLL_REMOVE:
            with suppress(OSError):  # is closed already; an exception here would end all transfers
                self._sockets.unregister(fd)
            return
        try:
            self._sockets.register(fd, _EVENTS[event])
        except FileExistsError:
            self._sockets.modify(fd, _EVENTS[event])

    def _set_timer(self, milliseconds: int) -> None:
        """Act after some milliseconds, or not at all if negative."""
        if milliseconds == 0:
            self._due = inf
            if self._soon is None:
                self._soon = self._loop.call_soon(self._act_soon)
            return
        self._due = self._loop.time() + milliseconds / 1000 if milliseconds > 0 else inf
        if self._timer is None or self._due < self._timer.when():
            self._set_alarm()

    def _set_alarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due, self._act_if_due) if self._due < inf else None

    def _act_if_due(self) -> None:
        """Act, or wait on if libcurl has asked for a later time meanwhile."""
        self._timer = None
        if self._due > self._loop.time():
            self._set_alarm()
        else:
            self._act(pycurl.SOCKET_TIMEOUT, 0)

    def _act_soon(self) -> None:
        self._soon = None
        self._act(pycurl.SOCKET_TIMEOUT, 0)

    def _act(self, fd: int, events: int) -> None:
        _, running = self._multi.socket_action(fd, events)
        if running < len(self._running):
            self._end_transfers()

    def _act_on_sockets(self) -> None:
        running, act = len(self._running), self._multi.socket_action
        for fd, events in self._sockets.poll(0, _MAX_EVENTS):
            can_write = pycurl.CSELECT_OUT if events & select.EPOLLOUT else 0
            can_read = pycurl.CSELECT_IN if events & ~select.EPOLLOUT else 0  # also what an error leaves to read
            _, running = act(fd, can_read | can_write)
        if running < len(self._running):
            self._end_transfers()

    def _end_transfers(self) -> None:
        remaining = 1
        while remaining:
            remaining, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                self._end(curl, 0, "")
            for curl, code, message in failed:
                self._end(curl, code, message)

    def _end(self, curl: pycurl.Curl, code: int, message: str) -> None:
        done = self._running.pop(curl)
        self._multi.remove_handle(curl)
        done(code, message)
