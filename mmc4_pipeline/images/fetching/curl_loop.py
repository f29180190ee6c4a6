"""Runs libcurl's transfers in an asyncio event loop."""

import asyncio
from collections.abc import Callable

import pycurl

Done = Callable[[int, str], None]  # receives libcurl's result code (0: no error) and its message


class CurlLoop:
    """A libcurl multi handle, with its connections, that is driven by the running event loop.

    libcurl says which sockets to watch and when to wake it; see https://curl.se/libcurl/c/libcurl-multi.html.
    """

    def __init__(self, max_idle: int) -> None:
        """Keep at most `max_idle` unused connections alive."""
        self._loop = asyncio.get_running_loop()
        self._running: dict[pycurl.Curl, Done] = {}
        self._timer: asyncio.Handle | None = None
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
        if self._timer is not None:
            self._timer.cancel()

    def _watch(self, event: int, fd: int, _multi: pycurl.CurlMulti, _data: object) -> None:
        self._loop.remove_reader(fd)
        self._loop.remove_writer(fd)
        if event in (pycurl.POLL_IN, pycurl.POLL_INOUT):
            self._loop.add_reader(fd, self._act, fd, pycurl.CSELECT_IN)
        if event in (pycurl.POLL_OUT, pycurl.POLL_INOUT):
            self._loop.add_writer(fd, self._act, fd, pycurl.CSELECT_OUT)

    def _set_timer(self, milliseconds: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if milliseconds == 0:
            self._timer = self._loop.call_soon(self._act, pycurl.SOCKET_TIMEOUT, 0)
        elif milliseconds > 0:
            self._timer = self._loop.call_later(milliseconds / 1000, self._act, pycurl.SOCKET_TIMEOUT, 0)

    def _act(self, fd: int, events: int) -> None:
        _, running = self._multi.socket_action(fd, events)
        if running < len(self._running):
            self._end_transfers()

    def _end_transfers(self) -> None:
        remaining = 1
        while remaining:
            remaining, succeeded, failed = self._multi.info_read()
            for curl, code, message in (*((curl, 0, "") for curl in succeeded), *failed):
                done = self._running.pop(curl)
                self._multi.remove_handle(curl)
                done(code, message)
