"""A server that answers each request with bytes that a test chooses, and a fetcher that asks it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from math import inf

from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.interface import FetchResult
from mmc4_pipeline.images.fetching.settings import FetchSettings
from tests.mmc4_pipeline.images.web_server import USUAL, Receiver, fetch_all

Answer = Callable[[str, int], bytes]  # of the path, and of how many requests there were before


@dataclass
class RawServer:
    """What a server saw: the heads of its requests and their targets, as they were sent."""

    answer: Answer
    address: str = ""
    targets: list[str] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    keeps_open: bool = False  # after an answer, until the other side closes the connection

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ")[1].decode("latin-1")
            before = sum((seen == "/robots.txt") == (target == "/robots.txt") for seen in self.targets)
            self.targets.append(target)
            self.heads.append(head)
            writer.write(self.answer(target, before))
            await writer.drain()
            if self.keeps_open:
                await reader.read()
        writer.close()


@asynccontextmanager
async def serving_raw(
    answer: Answer, tls: ssl.SSLContext | None = None, *, keeps_open: bool = False
) -> AsyncIterator[RawServer]:
    raw = RawServer(answer, keeps_open=keeps_open)
    server = await asyncio.start_server(raw.respond, "127.0.0.1", 0, ssl=tls)
    raw.address = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        server.close()


def answers_of(
    answer: Answer,
    *paths: str,
    receiver: Receiver | None = None,
    tls: ssl.SSLContext | None = None,
    seconds: float = inf,
    **settings: object,
) -> tuple[list[FetchResult], RawServer]:
    """Fetch some paths, one after another, from a server that answers with these bytes."""

    async def run() -> tuple[list[FetchResult], RawServer]:
        given = FetchSettings(**{**USUAL, "robots_txt": False, **settings})
        async with serving_raw(answer, tls) as server, Fetcher.open(given) as fetcher:
            urls = [server.address + path for path in paths]
            results = [(await fetch_all(fetcher, url, receiver=receiver, seconds=seconds))[0] for url in urls]
            return results, server

    return asyncio.run(run())


def response(body: bytes, *fields: bytes, status: bytes = b"HTTP/1.1 200 OK", length: bool = True) -> bytes:
    """Return an answer with these header fields and a Content-Length."""
    lengths = [b"Content-Length: %d" % len(body)] if length else []
    return b"\r\n".join([status, *fields, *lengths, b"Connection: close", b"", body])
