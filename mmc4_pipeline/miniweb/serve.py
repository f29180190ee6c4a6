"""Replay the images of a generated miniature web on loopback.

    python -m mmc4_pipeline.miniweb.serve FOLDER --port 0

The first line printed is the server's address. `GET <address>/<absolute image URL>` returns that image URL's response.
`GET <address>/__stats` returns JSON: the total number of `requests`, those for robots.txt by host (`robots`, not in the
total), those `per_url`, the largest number open at once by original host (`most_open`), and the number of requests that
came before the end of a Retry-After (`too_soon`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tarfile
import threading
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from aiohttp import web

from mmc4_pipeline.miniweb.planting import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SLOW_SECONDS = 30.0
BUSY_SECONDS = 1  # the Retry-After of a busy URL
USUAL_SECONDS = 0.005  # long enough for the requests of a client without limits to overlap, as they do on the web


def load_responses(folder: Path) -> dict[str, Response]:
    """Read the response of each image URL of a generated web; `folder` is that of `generate`."""
    with tarfile.open(folder / "images" / "bodies.tar") as tar:
        members = ((member.name, tar.extractfile(member)) for member in tar)
        bodies = {name: file.read() for name, file in members if file}
    table = json.loads((folder / "images" / "answers.json").read_text())
    return {
        url: Response(entry["status"], tuple(map(tuple, entry["headers"])), bodies[entry["body"]], entry["behaviour"])
        for url, entry in table.items()
    }


def _original(raw_path: str) -> str:
    """Return the image URL in a request's path, normalised, because HTTP clients spell it in different ways."""
    scheme, _, rest = unquote(raw_path.lstrip("/")).partition(":")
    return f"{scheme}://{rest.lstrip('/')}"


class Replay:
    """Responds to requests from a table, and counts them."""

    def __init__(self, responses: dict[str, Response]) -> None:
        """Begin with all counts at zero."""
        self.responses = responses
        self.stopping = asyncio.Event()
        self.per_url: Counter[str] = Counter()
        self.open_now: Counter[str] = Counter()
        self.most_open: Counter[str] = Counter()
        self.robots: Counter[str] = Counter()
        self.busy_until: dict[str, float] = {}
        self.too_soon = 0

    async def stats(self, _: web.Request) -> web.Response:
        """Return the counts so far."""
        return web.json_response(
            {
                "requests": self.per_url.total(),
                "robots": dict(self.robots),
                "per_url": dict(self.per_url),
                "most_open": dict(self.most_open),
                "too_soon": self.too_soon,
            },
        )

    async def image(self, request: web.Request) -> web.Response:
        """Respond for the image URL in the path."""
        url = _original(request.raw_path)
        host = urlsplit(url).netloc
        is_robots = urlsplit(url).path == "/robots.txt"
        if is_robots:
            self.robots[host] += 1
        else:
            self.per_url[url] += 1
        self.open_now[host] += 1
        self.most_open[host] = max(self.most_open[host], self.open_now[host])
        try:
            response = self.responses.get(url, Response(404, body=b"unknown to this web"))
            return self._busy(url) or await self._respond(request, response)
        finally:
            self.open_now[host] -= 1

    def _busy(self, url: str) -> web.Response | None:
        """Return a 503 for the first request of a busy URL, and for those within its Retry-After."""
        if url not in self.responses or self.responses[url].behaviour != "busy":
            return None
        now = asyncio.get_running_loop().time()
        self.too_soon += now < self.busy_until.get(url, 0)
        if now >= self.busy_until.setdefault(url, now + BUSY_SECONDS):
            return None
        return web.Response(status=503, headers={"Retry-After": str(BUSY_SECONDS)})

    async def _respond(self, request: web.Request, response: Response) -> web.Response:
        if response.behaviour == "slow":
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), SLOW_SECONDS)
        else:
            await asyncio.sleep(USUAL_SECONDS)
        if response.behaviour == "close" and request.transport:
            request.transport.close()
        # The target of a redirect is another image URL of this web, which this server has to replay as well.
        headers = dict(response.headers)
        if "Location" in headers:
            headers["Location"] = f"http://{request.host}/{headers['Location']}"
        return web.Response(status=response.status, headers=headers, body=response.body)


@asynccontextmanager
async def _running(folder: Path, port: int) -> AsyncIterator[tuple[str, Replay]]:
    replay = Replay(load_responses(folder))
    app = web.Application()
    app.router.add_get("/__stats", replay.stats)
    app.router.add_get("/{url:.*}", replay.image)
    # Once a client has given up on a slow response, its request no longer counts as open: the handler is cancelled.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=512).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", replay
    finally:
        replay.stopping.set()
        await runner.cleanup()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a generated web from a thread of this process, and yield its base URL without a slash at the end."""
    ready = threading.Event()
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    address: list[str] = []

    async def run() -> None:
        done = asyncio.Event()
        async with _running(folder, 0) as (base, _):
            stop.append((asyncio.get_running_loop(), done))
            address.append(base)
            ready.set()
            await done.wait()

    def target() -> None:
        try:
            asyncio.run(run())
        finally:
            ready.set()  # otherwise the caller would wait forever for a server that could not start

    thread = threading.Thread(target=target, name="miniweb", daemon=True)
    thread.start()
    ready.wait()
    if not address:
        raise RuntimeError(f"{folder}: could not be served")
    try:
        yield address[0]
    finally:
        loop, done = stop[0]
        loop.call_soon_threadsafe(done.set)
        thread.join()


async def _serve(folder: Path, port: int, lifetime: float) -> None:
    async with _running(folder, port) as (base, _):
        sys.stdout.write(f"{base}\n")  # the process that started this program reads the address
        sys.stdout.flush()
        await asyncio.sleep(lifetime)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free port")
    parser.add_argument("--lifetime", type=float, default=900.0, help="seconds until the server stops")
    args = parser.parse_args()
    asyncio.run(_serve(args.folder, args.port, args.lifetime))


if __name__ == "__main__":
    main()
