"""A server that sends hostile responses, byte for byte, from a separate host for each case."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from schemas.reasons import Reason

Send = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """The bytes that are sent, and the reasons for which the image may be dropped (None: it is kept)."""

    name: str
    send: Send
    allowed: tuple[Reason | None, ...]


@dataclass
class Hostile:
    """A server on all addresses of this machine; each case has its own host."""

    cases: list[Case]
    port: int = 0
    requested: Counter[str] = field(default_factory=Counter)  # by address and path

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to the one request of a connection."""
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            request = await reader.readuntil(b"\r\n\r\n")
            path = request.split(b" ")[1].decode()
            self.requested[f"{writer.get_extra_info('sockname')[0]}{path}"] += 1
            number = urlsplit(path).path.strip("/")
            if number.isdecimal() and int(number) < len(self.cases):
                await self.cases[int(number)].send(writer)
            else:
                await sending(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")(writer)
        writer.close()


@contextmanager
def serving(cases: list[Case]) -> Iterator[Hostile]:
    """Serve in a thread until the block ends."""
    hostile, loop = Hostile(cases), asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(hostile.respond, "0.0.0.0", 0))
    hostile.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield hostile
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def stop(server: asyncio.Server) -> None:
    """Stop listening, and cancel the responses that are still being sent."""
    server.close()
    sending_tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in sending_tasks:
        task.cancel()
    await asyncio.gather(*sending_tasks, return_exceptions=True)


def sending(*parts: bytes, every: float = 0) -> Send:
    """Send some bytes, one part after another."""

    async def send(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(every)

    return send


def endless(start: bytes, part: bytes, every: float = 0) -> Send:
    """Send a start, then the same part forever."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(every)

    return send


def ok(
    body: bytes, kind: str = "image/jpeg", *, length: int | None = None, status: str = "200 OK", more: str = ""
) -> Send:
    """Send a response that is well formed, except if `length` is not the length of the body."""
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\nConnection: close\r\n{more}\r\n"
    return sending(head.encode() + body)


def redirect(location: str) -> Send:
    """Redirect to another URL."""
    return ok(b"", status="302 Found", more=f"Location: {location}\r\n")
