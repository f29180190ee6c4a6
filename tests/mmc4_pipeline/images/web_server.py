"""A web server on loopback that responds as a test specifies, and a fetcher that sends requests to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf

from aiohttp import web

from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageRequest
from mmc4_pipeline.images.fetching.settings import FetchSettings
from schemas.reasons import Drop, Reason

MOMENT = datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)
BODY = b"\xff\xd8 some bytes"
USUAL = {"allow_private_hosts": True, "timeout": 20.0, "delay_per_host": 0.0}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Accept = Callable[[FetchResult], Awaitable[str | None]]


@dataclass
class Server:
    """A web server on this machine that responds as the test specifies and records the requests it gets.

    It has no robots.txt unless the test provides one; requests for robots.txt are counted separately.
    """

    address: str = ""
    requested: list[str] = field(default_factory=list)
    robots: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)


@asynccontextmanager
async def serving(handler: Handler, robots: Handler | None = None, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    server = Server()

    async def respond(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/robots.txt"):
            server.robots += 1
            return await robots(request) if robots else web.Response(status=404)
        server.requested.append(request.path_qs)
        server.headers.append(dict(request.headers))
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    server.address = f"http://{host}:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


async def keep(_result: FetchResult) -> str | None:
    return None


def refuse_noai(robots_tag: str) -> Drop | None:
    return Drop(Reason.OPTED_OUT, "consent") if "noai" in robots_tag else None


@dataclass(frozen=True)
class Receiver:
    """An image handler with the decisions of a test."""

    accept: Accept = keep
    consent: Callable[[str], Drop | None] = refuse_noai
    denied: Callable[[str], bool] = lambda _url: False

    def denies(self, url: str) -> bool:
        return self.denied(url)

    def refuse(self, robots_tag: str, declarations: str) -> Drop | None:
        return self.consent(robots_tag)

    async def receive(self, result: FetchResult) -> str | None:
        return await self.accept(result)


async def fetch_all(
    fetcher: Fetcher, *urls: str, receiver: Receiver | None = None, seconds: float = inf
) -> list[FetchResult]:
    """Fetch some URLs concurrently; no request begins later than `seconds` from now."""
    deadline = asyncio.get_running_loop().time() + seconds
    requests = [ImageRequest(url, MOMENT) for url in urls]
    return list(await asyncio.gather(*(fetcher.fetch(item, receiver or Receiver(), deadline) for item in requests)))


def fetch_from(
    handler: Handler,
    *paths: str,
    accept: Accept = keep,
    routes: tuple[str, ...] = ("{url}",),
    robots: Handler | None = None,
    consent: Callable[[str], Drop | None] = refuse_noai,
    seconds: float = inf,
    **settings: object,
) -> tuple[list[FetchResult], Server]:
    """Fetch some paths from a server concurrently; "SERVER" in a route is replaced by its address."""

    async def run() -> tuple[list[FetchResult], Server]:
        async with serving(handler, robots) as server:
            chosen = tuple(route.replace("SERVER", server.address) for route in routes)
            options = FetchSettings(routes=chosen, **{**USUAL, **settings})
            async with Fetcher.open(options) as fetcher:
                urls = [server.address + path for path in paths]
                return await fetch_all(fetcher, *urls, receiver=Receiver(accept, consent), seconds=seconds), server

    return asyncio.run(run())


@dataclass
class Crowd:
    """Counts how many requests are open at a time, and responds to each once all possible others have arrived."""

    open: int = 0
    most: int = 0

    async def respond(self, _request: web.Request) -> web.StreamResponse:
        """Respond after waiting."""
        await self.wait()
        return web.Response(body=BODY)

    async def wait(self) -> None:
        """Let the other requests arrive, if they can."""
        self.open += 1
        self.most = max(self.most, self.open)
        for _ in range(50):
            await asyncio.sleep(0)
        self.open -= 1


def responding(*responses: web.Response | int) -> Handler:
    """Respond with these, one after another, and with the last one from then on."""
    remaining = list(responses)

    async def handler(_request: web.Request) -> web.StreamResponse:
        response = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        if isinstance(response, int):
            return web.Response(status=response)
        return web.Response(status=response.status, body=response.body, headers=response.headers)

    return handler
