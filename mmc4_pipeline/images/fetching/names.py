"""Looks up the addresses of hosts: in threads, once for all simultaneous requests, and kept for a while."""

import asyncio
import socket
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

DNS_THREADS = 256  # looking up a dead name may take half a minute, and many links are dead
_MAX_AGE = 60.0  # seconds
_MAX_NAMES = 20_000


class Names:
    """The addresses of the names that were looked up lately."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(DNS_THREADS, "name")
        self._found: OrderedDict[str, tuple[float, list[str]]] = OrderedDict()  # the oldest first
        self._running: dict[str, asyncio.Task[list[str]]] = {}

    def known(self, name: str) -> list[str] | None:
        """Return the addresses of a name if they are known."""
        expires, addresses = self._found.get(name, (0.0, None))
        return addresses if asyncio.get_running_loop().time() < expires else None

    async def look_up(self, name: str) -> list[str]:
        """Return the addresses of a name; raises OSError if it has none."""
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = asyncio.create_task(self._look_up(name))
            task.add_done_callback(lambda done: self._end(name, done))
        return await asyncio.shield(task)  # others may wait for it too

    def close(self) -> None:
        """Cancel all lookups."""
        for task in self._running.values():
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _end(self, name: str, task: asyncio.Task[list[str]]) -> None:
        del self._running[name]
        if not task.cancelled():
            task.exception()  # that nobody waits for it any more is no error

    async def _look_up(self, name: str) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _addresses, name)
        self._found.pop(name, None)
        self._found[name] = (loop.time() + _MAX_AGE, found)
        if len(self._found) > _MAX_NAMES:
            self._found.popitem(last=False)
        return found


def _addresses(name: str) -> list[str]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
