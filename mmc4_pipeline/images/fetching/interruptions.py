"""Notices what happens to this machine and not to a host: it was asleep, or its own connection is lost.

A request that fails for such a reason says nothing about its host, and is repeated without counting as a failure.
"""

import asyncio
import logging
import random
import time
from collections import OrderedDict
from math import inf

Peer = tuple[str, int]  # address and port

TICK = 1.0  # seconds
ASLEEP = 5.0  # seconds between two ticks after which this process was stopped: by a closed laptop, or SIGSTOP
RECENT = 5.0  # seconds for which a response shows that the connection works
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds between two checks of a lost connection
_REMEMBERED, _CHECKED, _ENOUGH = 20, 5, 3  # peers: remembered, checked at a time, and needed for a decision
_CHECK_SECONDS = 5.0
# Linux's only clock that includes the time in which the machine was suspended.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_log = logging.getLogger(__name__)


class Interruptions:
    """What is known about this machine's connection, from the responses of all hosts.

    If no host has responded lately, those that did before are checked by opening a connection, without a request. If
    none of them can be reached, the connection is lost. All times are the event loop's.
    """

    def __init__(self) -> None:
        """Begin to watch, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._peers: OrderedDict[Peer, None] = OrderedDict()  # that have responded, the latest at the end
        self._responded = -inf
        self.woken = -inf  # when this process last went on after it had been stopped
        self._ticked = time.clock_gettime(_CLOCK)
        self._timer = self._loop.call_later(TICK, self._tick)
        self._check: asyncio.Task[bool] | None = None

    def close(self) -> None:
        """Stop watching."""
        self._timer.cancel()
        if self._check is not None:
            self._check.cancel()

    def note_response(self, peer: Peer) -> None:
        """Note that a host has responded."""
        self._responded = self._loop.time()
        self._peers[peer] = None
        self._peers.move_to_end(peer)
        if len(self._peers) > _REMEMBERED:
            self._peers.popitem(last=False)

    async def excuse(self, started: float, deadline: float) -> bool:
        """Return whether a request failed because of this machine. If its connection is lost, wait until it is back.

        `started` is when the request began. The wait ends at the deadline.
        """
        self._note_pause()
        if started < self.woken:
            return True
        if len(self._peers) < _ENOUGH or self._responded >= max(started, self._loop.time() - RECENT):
            return False
        if self._check is None or self._check.done():
            self._check = self._loop.create_task(self._until_connected())
        await asyncio.wait([self._check], timeout=None if deadline == inf else max(0.0, deadline - self._loop.time()))
        return not self._check.done() or self._check.result()

    def _tick(self) -> None:
        self._note_pause()
        self._timer = self._loop.call_later(TICK, self._tick)

    def _note_pause(self) -> None:
        now = time.clock_gettime(_CLOCK)
        if now - self._ticked > ASLEEP:
            self.woken = self._loop.time()
            _log.warning("stopped for %.0f s; what was being requested is requested again", now - self._ticked)
        self._ticked = now

    async def _until_connected(self) -> bool:
        """Wait until the connection works; return whether it was lost."""
        wait, is_lost = FIRST_WAIT, False
        while not await self._is_connected():
            if not is_lost:
                _log.warning("no connection: none of the hosts that responded before can be reached; waiting for it")
            is_lost = True
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        self._responded = self._loop.time()
        if is_lost:
            _log.warning("connected again")
        return is_lost

    async def _is_connected(self) -> bool:
        checks = [_can_be_reached(peer) for peer in random.sample(list(self._peers), min(_CHECKED, len(self._peers)))]
        return any(await asyncio.gather(*checks))


async def _can_be_reached(peer: Peer) -> bool:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            _, writer = await asyncio.open_connection(*peer)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    return True
