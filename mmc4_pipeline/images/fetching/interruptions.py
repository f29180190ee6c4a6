"""Notices what happens to this machine and not to a host: it was asleep, or its own connection is lost.

A request that fails for such a reason says nothing about its host, and is repeated without counting as a failure.
"""

import asyncio
import logging
import random
import time
from collections import OrderedDict
from math import inf

from mmc4_pipeline.images.fetching.addresses import is_public
from mmc4_pipeline.images.fetching.names import Names

Peer = tuple[str, int]  # host and port

TICK = 1.0  # seconds
ASLEEP = 5.0  # seconds between two ticks after which this process was stopped: by a closed laptop, or SIGSTOP
RECENT = 5.0  # seconds for which a response shows that the connection works
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds between two checks of a lost connection
_REMEMBERED, _CHECKED, _ENOUGH = 20, 5, 3  # peers: remembered, checked at a time, and needed for a decision
_CHECK_SECONDS = 5.0
_TRIED = 4  # addresses of a well-known host
# Hosts of three networks. They are checked only while no host responds and fewer than three have ever done so.
WELL_KNOWN: list[Peer] = [("data.commoncrawl.org", 443), ("www.iana.org", 443), ("www.wikipedia.org", 443)]
# Linux's only clock that includes the time in which the machine was suspended.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_log = logging.getLogger(__name__)


class Interruptions:
    """What is known about this machine's connection, from the responses of all hosts.

    If no host has responded lately, those that did before are checked by opening a connection, without a request. If
    none of them can be reached, the connection is lost. If hardly any has ever responded, as at a start without a
    connection, well-known hosts are checked as well, once hosts of several domains have failed. All times are the
    event loop's.
    """

    def __init__(self, names: Names, *, allow_private_hosts: bool) -> None:
        """Begin to watch, in the running event loop."""
        self._loop, self._names = asyncio.get_running_loop(), names
        self._allow_private_hosts = allow_private_hosts
        self._peers: OrderedDict[Peer, None] = OrderedDict()  # that have responded, the latest at the end
        self._failed: set[str] = set()  # registered domains whose hosts have failed since the last response
        self._responded = -inf
        self.woken = -inf  # when this process last went on after it had been stopped
        self._ticked = time.clock_gettime(_CLOCK)
        self._timer = self._loop.call_later(TICK, self._tick)
        self._check: asyncio.Task[bool] | None = None
        self._checked = -inf  # when the last check ended

    def close(self) -> None:
        """Stop watching."""
        self._timer.cancel()
        if self._check is not None:
            self._check.cancel()

    def note_response(self, peer: Peer) -> None:
        """Note that a host has responded."""
        self._responded = self._loop.time()
        self._failed.clear()
        self._peers[peer] = None
        self._peers.move_to_end(peer)
        if len(self._peers) > _REMEMBERED:
            self._peers.popitem(last=False)

    async def excuse(self, domain: str, started: float, deadline: float) -> bool:
        """Return whether a request failed because of this machine. If its connection is lost, wait until it is back.

        `domain` is the registered domain of its host, and `started` is when it began. The wait ends at the deadline.
        """
        self._note_pause()
        if started < self.woken:
            return True
        if self._responded >= max(started, self._loop.time() - RECENT):
            return False
        if len(self._failed) < _ENOUGH:
            self._failed.add(domain)
        if max(len(self._peers), len(self._failed)) < _ENOUGH:
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
        if len(self._peers) < _ENOUGH:  # well-known hosts must not be checked for each failure
            await asyncio.sleep(max(0.0, self._checked + RECENT - self._loop.time()))
        while not await self._is_connected():
            if not is_lost:
                _log.warning("no connection: %s can be reached; waiting for it", self._checked_hosts())
            is_lost = True
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        self._checked = self._responded = self._loop.time()
        if is_lost:
            _log.warning("connected again")
        return is_lost

    def _checked_hosts(self) -> str:
        """Return in words which hosts are checked."""
        known = ", ".join(name for name, _ in WELL_KNOWN)
        if not self._peers:
            return f"no host has responded since the start, and none of {known}"
        others = "" if len(self._peers) >= _ENOUGH else f", and none of {known},"
        return f"none of the hosts that responded before{others}"

    async def _is_connected(self) -> bool:
        peers = random.sample(list(self._peers), min(_CHECKED, len(self._peers)))
        if any(await asyncio.gather(*map(_can_be_reached, peers))):
            return True
        if len(self._peers) >= _ENOUGH:
            return False
        for peer in random.sample(WELL_KNOWN, len(WELL_KNOWN)):  # one after another: one that responds is enough
            if await self._can_be_found(*peer):
                return True
        return False

    async def _can_be_found(self, name: str, port: int) -> bool:
        """Return whether a host can be reached by its name, at a public address unless private ones are allowed."""
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                found = await self._names.look_up(name)
        except OSError:  # TimeoutError is one
            return False
        allowed = [address for address in found if self._allow_private_hosts or is_public(address)]
        return any(await asyncio.gather(*(_can_be_reached((address, port)) for address in allowed[:_TRIED])))


async def _can_be_reached(peer: Peer) -> bool:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            _, writer = await asyncio.open_connection(*peer)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    return True
