"""A web server on loopback that answers as a test says, and a fetcher that asks it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from mmc4_pipeline.images.fetching.fetch import Answer, Fetcher, FetchSettings, Request
from schemas.reasons import Drop, Reason

MOMENT = datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)
BODY = b"\xff\xd8 some bytes"
USUAL = {"allow_private_hosts": True, "timeout": 20.0, "delay_per_host": 0.0}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """A web server on this machine that answers as the test says and remembers what it was asked for.

    It has no robots.txt unless the test says what that is; requests for it are counted apart.
    """

    address: str = ""
    asked: list[str] = field(default_factory=list)
    robots: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)


@asynccontextmanager
async def serving(handler: Handler, robots: Handler | None = None, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    server = Server()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/robots.txt"):
            server.robots += 1
            return await robots(request) if robots else web.Response(status=404)
        server.asked.append(request.path_qs)
        server.headers.append(dict(request.headers))
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    server.address = f"http://{host}:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


async def keep(_answer: Answer) -> Reason | None:
    return None


def noai(robots_tag: str) -> Drop | None:
    return Drop(Reason.OPTED_OUT, "consent") if "noai" in robots_tag else None


def ask(
    handler: Handler,
    *paths: str,
    accept: Callable[[Answer], Awaitable[Reason | None]] = keep,
    routes: tuple[str, ...] = ("{url}",),
    robots: Handler | None = None,
    consent: Callable[[str], Drop | None] = noai,
    **settings: object,
) -> tuple[list[Answer], Server]:
    """Ask a server for some paths side by side; "SERVER" in a route stands for its address."""

    async def run() -> tuple[list[Answer], Server]:
        async with serving(handler, robots) as server:
            chosen = tuple(route.replace("SERVER", server.address) for route in routes)
            options = FetchSettings(routes=chosen, **{**USUAL, **settings})
            async with Fetcher.open(options, consent) as fetcher:
                requests = [Request(server.address + path, MOMENT) for path in paths]
                return list(await asyncio.gather(*(fetcher.fetch(item, accept) for item in requests))), server

    return asyncio.run(run())


@dataclass
class Crowd:
    """Counts how many requests are open at a time, and answers each once all that can have come."""

    here: int = 0
    most: int = 0

    async def answer(self, _request: web.Request) -> web.StreamResponse:
        """Answer after a stay."""
        await self.stay()
        return web.Response(body=BODY)

    async def stay(self) -> None:
        """Let the others come, if they can."""
        self.here += 1
        self.most = max(self.most, self.here)
        for _ in range(50):
            await asyncio.sleep(0)
        self.here -= 1


def answering(*answers: web.Response | int) -> Handler:
    """Answer with these, one after another, and with the last one from then on."""
    left = list(answers)

    async def handler(_request: web.Request) -> web.StreamResponse:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, int):
            return web.Response(status=answer)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    return handler
