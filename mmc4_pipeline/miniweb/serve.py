"""Replay the images of a generated miniature web on loopback.

    python -m mmc4_pipeline.miniweb.serve FOLDER --port 0

The first line printed is the server's address. `GET <address>/<absolute image URL>` answers as that image URL does, and
`GET <address>/__stats` tells in JSON: `requests` in all, `robots` (robots.txt by host, not among the former),
`per_url`, the most requests open at once per original host, `most_open`, and how many came back before the time that
they were told to wait was over, `too_soon`.
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

from mmc4_pipeline.miniweb.planting import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SLOW_SECONDS = 30.0
BUSY_SECONDS = 1  # what a busy address asks to wait
USUAL_SECONDS = 0.005  # long enough for the requests of an impatient client to overlap, as they do on the web


def load_answers(folder: Path) -> dict[str, Answer]:
    """Read what every image URL of a generated web answers; `folder` is the one `generate` wrote to."""
    with tarfile.open(folder / "images" / "bodies.tar") as tar:
        members = ((member.name, tar.extractfile(member)) for member in tar)
        bodies = {name: file.read() for name, file in members if file}
    table = json.loads((folder / "images" / "answers.json").read_text())
    return {
        url: Answer(entry["status"], tuple(map(tuple, entry["headers"])), bodies[entry["body"]], entry["behaviour"])
        for url, entry in table.items()
    }


def _original(raw_path: str) -> str:
    """Find the image URL in a request's path, in one form for the spellings that HTTP clients send of it."""
    scheme, _, rest = unquote(raw_path.lstrip("/")).partition(":")
    return f"{scheme}://{rest.lstrip('/')}"


class Replay:
    """Answers requests from a table and counts them."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        """Nothing has been asked yet."""
        self.answers = answers
        self.stopping = asyncio.Event()
        self.per_url: Counter[str] = Counter()
        self.open_now: Counter[str] = Counter()
        self.most_open: Counter[str] = Counter()
        self.robots: Counter[str] = Counter()
        self.busy_until: dict[str, float] = {}
        self.too_soon = 0

    async def stats(self, _: web.Request) -> web.Response:
        """Tell the counts so far."""
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
        """Answer for the image URL in the path."""
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
            answer = self.answers.get(url, Answer(404, body=b"unknown to this web"))
            return self._busy(url) or await self._answer(request, answer)
        finally:
            self.open_now[host] -= 1

    def _busy(self, url: str) -> web.Response | None:
        """Refuse who asks a busy address for the first time, or comes back too soon."""
        if url not in self.answers or self.answers[url].behaviour != "busy":
            return None
        now = asyncio.get_running_loop().time()
        self.too_soon += now < self.busy_until.get(url, 0)
        if now >= self.busy_until.setdefault(url, now + BUSY_SECONDS):
            return None
        return web.Response(status=503, headers={"Retry-After": str(BUSY_SECONDS)})

    async def _answer(self, request: web.Request, answer: Answer) -> web.Response:
        if answer.behaviour == "slow":
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), SLOW_SECONDS)
        else:
            await asyncio.sleep(USUAL_SECONDS)
        if answer.behaviour == "close" and request.transport:
            request.transport.close()
        # A redirect leads to another image URL of this web, so it has to come back to this server.
        headers = dict(answer.headers)
        if "Location" in headers:
            headers["Location"] = f"http://{request.host}/{headers['Location']}"
        return web.Response(status=answer.status, headers=headers, body=answer.body)


@asynccontextmanager
async def _running(folder: Path, port: int) -> AsyncIterator[tuple[str, Replay]]:
    replay = Replay(load_answers(folder))
    app = web.Application()
    app.router.add_get("/__stats", replay.stats)
    app.router.add_get("/{url:.*}", replay.image)
    # A client that gives up on a slow answer has no request open any more: its handler is cancelled.
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
    """Serve a generated web from a thread of this process; the base URL, without a slash at its end, comes back."""
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
            ready.set()  # a server that could not start must not leave the caller waiting

    thread = threading.Thread(target=target, name="miniweb", daemon=True)
    thread.start()
    ready.wait()
    if not address:
        message = f"could not serve {folder}"
        raise RuntimeError(message)
    try:
        yield address[0]
    finally:
        loop, done = stop[0]
        loop.call_soon_threadsafe(done.set)
        thread.join()


async def _serve(folder: Path, port: int, lifetime: float) -> None:
    async with _running(folder, port) as (base, _):
        sys.stdout.write(f"{base}\n")  # whoever started this program reads the address
        sys.stdout.flush()
        await asyncio.sleep(lifetime)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--lifetime", type=float, default=900.0, help="seconds until the server stops by itself")
    args = parser.parse_args()
    asyncio.run(_serve(args.folder, args.port, args.lifetime))


if __name__ == "__main__":
    main()
