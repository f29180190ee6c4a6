"""A web server with files, and pages that show them."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np
from aiohttp import web

from schemas.page import ImageLink, Page
from schemas.reasons import Reason
from tests.pages import new_page


@dataclass
class Site:
    """A web server in a separate thread; it responds in no particular order."""

    address: str
    files: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    requested: Counter[str] = field(default_factory=Counter)
    slow: dict[str, float] = field(default_factory=dict)


@contextmanager
def serving_site() -> Iterator[Site]:
    site, loop = Site(""), asyncio.new_event_loop()
    random = np.random.default_rng()

    async def respond(request: web.Request) -> web.Response:
        if request.path == "/robots.txt" and request.path not in site.files:
            return web.Response(status=404)
        site.requested[request.path_qs] += 1
        await asyncio.sleep(site.slow.get(request.path, random.random() / 20))  # in another order each time
        body, headers = site.files.get(request.path, (None, {}))
        return web.Response(status=404) if body is None else web.Response(body=body, headers=headers)

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/{path:.*}", respond)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        site.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield site
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def page(key: str, *links: str, dropped: tuple[int, ...] = ()) -> Page:
    made = [
        ImageLink(position, link, "", None, None, reason=Reason.URL_TOKEN if position in dropped else None)
        for position, link in enumerate(links)
    ]
    return new_page(key, links=made)


def jpeg(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", pixels)[1].tobytes()
