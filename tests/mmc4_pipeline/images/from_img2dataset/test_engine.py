"""img2dataset instead of our fetcher: it writes the same bytes, and its connections are guarded in the same way."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from aiohttp import web

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageRequest
from mmc4_pipeline.images.fetching.settings import FetchSettings
from mmc4_pipeline.images.from_img2dataset.engine import Img2dataset, version_of
from mmc4_pipeline.images.process_shard import FetchedShard
from mmc4_pipeline.recipe import load_recipe
from schemas.page import ImageLink
from schemas.reasons import Reason
from tests.mmc4_pipeline.images.from_img2dataset.installed import PYTHON, needs_img2dataset
from tests.mmc4_pipeline.images.one_shard import fetch_shard
from tests.mmc4_pipeline.images.web_server import MOMENT, USUAL, Handler, Server, serving
from tests.pages import new_page

DIRECTIVES = ("noai", "noimageai", "noindex", "noimageindex")


def jpeg(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def fetch_with_img2dataset(handler: Handler, *urls: str, **settings: object) -> tuple[dict[str, FetchResult], Server]:
    """Fetch some URLs, with SERVER replaced by the server's address; return the results by the URLs as given."""

    async def run() -> tuple[dict[str, FetchResult], Server]:
        async with serving(handler) as server:
            given = {url.replace("SERVER", server.address): url for url in urls}
            options = FetchSettings(**{**USUAL, **settings})  # type: ignore[arg-type]
            source = Img2dataset(PYTHON, options, DIRECTIVES)
            requests = [ImageRequest(url, MOMENT) for url in given]
            results = await asyncio.to_thread(lambda: list(source.fetch(requests)))
            assert len(results) == len(urls)
            return {given[result.url]: result for result in results}, server

    return asyncio.run(run())


def test_a_python_without_img2dataset_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--img2dataset_python {tmp_path}/python"):
        version_of(str(tmp_path / "python"))
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(UserError, match="pip install img2dataset"):
        version_of(str(bare))


@needs_img2dataset
def test_both_engines_write_the_same_bytes(tmp_path: Path, photo: Callable[..., np.ndarray]) -> None:
    files = {f"/{number}.jpg": jpeg(photo(number)) for number in range(12)}
    files["/large.png"] = cv2.imencode(".png", photo(20, 1200, 900))[1].tobytes()
    files["/a b ü.jpg"] = jpeg(photo(21))
    files |= {"/small.jpg": jpeg(photo(22, 100, 80)), "/page.jpg": b"<html>", "/truncated.jpg": files["/0.jpg"][:2000]}

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/moved.jpg":
            return web.Response(status=301, headers={"Location": "/1.jpg"})
        if request.path == "/no.jpg":
            return web.Response(body=files["/0.jpg"], headers={"X-Robots-Tag": "noai"})
        return web.Response(body=files[request.path]) if request.path in files else web.Response(status=404)

    async def run() -> tuple[FetchedShard, FetchedShard]:
        async with serving(handler) as server:
            links = [server.address + name for name in (*files, "/moved.jpg", "/no.jpg", "/gone.jpg", "/0.jpg#again")]
            made = [ImageLink(position, link, "", None, None, reason=None) for position, link in enumerate(links)]
            pages = [new_page(links=made)]
            settings, recipe = FetchSettings(**USUAL), load_recipe("mmc4")  # type: ignore[arg-type]
            theirs = Img2dataset(PYTHON, settings, DIRECTIVES)
            both = [
                await asyncio.to_thread(fetch_shard, pages, recipe, settings, str(tmp_path / name), source=source)
                for name, source in (("ours.tar", None), ("theirs.tar", theirs))
            ]
            return both[0], both[1]

    ours, theirs = asyncio.run(run())
    assert (tmp_path / "ours.tar").read_bytes() == (tmp_path / "theirs.tar").read_bytes()
    columns = ("url", "route", "reason", "sha256", "byte_size", "width", "height", "phash", "offset", "length")
    assert [[getattr(row, name) for name in columns] for row in ours.images] == [
        [getattr(row, name) for name in columns] for row in theirs.images
    ]
    gone, kept = theirs.images[-2], theirs.images[0]
    assert (gone.reason, gone.http_status, kept.http_status) == (Reason.HTTP_ERROR, 404, 200)


@needs_img2dataset
def test_endless_responses_and_redirects_to_anywhere_end_in_their_reason() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/endless.jpg":
                response = web.StreamResponse()
                await response.prepare(request)
                while True:
                    await response.write(b"x" * 65536)
            case "/drip.jpg":
                response = web.StreamResponse(headers={"Content-Length": "100000"})
                await response.prepare(request)
                while True:
                    await response.write(b"x")
                    await asyncio.sleep(0.2)
            case "/short.jpg":
                response = web.StreamResponse(headers={"Content-Length": "1000"})
                await response.prepare(request)
                await response.write(b"x")
                assert request.transport
                request.transport.close()
                return response
            case "/loop.jpg":
                return web.Response(status=302, headers={"Location": f"/loop.jpg?{request.query_string}x"})
            case "/file.jpg":
                return web.Response(status=302, headers={"Location": "file:///etc/passwd"})
            case "/part.jpg":
                return web.Response(status=206, body=b"x")
        return web.Response(status=503, headers={"Retry-After": "1"})

    reasons = {
        "SERVER/endless.jpg": Reason.TOO_LARGE,
        "SERVER/drip.jpg": Reason.TIMEOUT,
        "SERVER/short.jpg": Reason.CORRUPT,
        "SERVER/loop.jpg": Reason.HTTP_ERROR,
        "SERVER/file.jpg": Reason.HTTP_ERROR,
        "SERVER/part.jpg": Reason.HTTP_ERROR,
        "SERVER/busy.jpg": Reason.HTTP_ERROR,
        "file:///etc/passwd": Reason.HTTP_ERROR,
        "https://": Reason.HTTP_ERROR,
        "no URL": Reason.HTTP_ERROR,
        "http://nobody.invalid/x.jpg": Reason.HOST_UNAVAILABLE,
    }
    results, server = fetch_with_img2dataset(
        handler, *reasons, timeout=1.5, max_bytes=1 << 20, user_agent="me/1.0 (+https://me.example)"
    )
    assert {url: result.reason for url, result in results.items()} == reasons
    assert results["SERVER/part.jpg"].status == 206
    assert len([path for path in server.requested if path.startswith("/loop")]) <= 6
    assert server.requested.count("/busy.jpg") == 1  # img2dataset would retry without waiting
    assert {headers["User-Agent"] for headers in server.headers} == {"me/1.0 (+https://me.example)"}


@needs_img2dataset
def test_no_request_reaches_a_private_address() -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=b"secret")

    async def run() -> tuple[list[FetchResult], Server]:
        async with serving(handler) as server:
            port = server.address.rpartition(":")[2]
            hosts = ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "[::1]", "169.254.169.254")
            source = Img2dataset(PYTHON, FetchSettings(timeout=5.0), DIRECTIVES)
            requests = [ImageRequest(f"http://{host}:{port}/x.jpg", MOMENT) for host in hosts]
            return await asyncio.to_thread(lambda: list(source.fetch(requests))), server

    results, server = asyncio.run(run())
    assert {(result.url, result.reason) for result in results if result.reason is not Reason.FORBIDDEN_ADDRESS} == set()
    assert (len(results), server.requested) == (7, [])


@needs_img2dataset
def test_images_that_remain_at_the_time_limit_are_deferred_and_no_process_remains() -> None:
    async def handler(_request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    results, _ = fetch_with_img2dataset(handler, "SERVER/a.jpg", "SERVER/b.jpg", shard_seconds=1.0, timeout=50.0)
    assert [result.reason for result in results.values()] == [Reason.DEFERRED] * 2
    commands = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not [command for command in commands if "guarded_img2dataset" in command]


@needs_img2dataset
def test_an_archive_is_tried_for_images_that_the_web_no_longer_has() -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/no.jpg":
            return web.Response(body=b"x", headers={"X-Robots-Tag": "noindex"})
        return web.Response(status=404) if request.path == "/a.jpg" else web.Response(body=request.path_qs.encode())

    async def run() -> tuple[list[FetchResult], str]:
        async with serving(handler) as server:
            archive = server.address + "/archive/{timestamp}?of={url}"
            settings = FetchSettings(**{**USUAL, "routes": ("{url}", archive)})  # type: ignore[arg-type]
            source = Img2dataset(PYTHON, settings, DIRECTIVES)
            requests = [ImageRequest(f"{server.address}/{name}.jpg", MOMENT) for name in ("a", "no")]
            return await asyncio.to_thread(lambda: list(source.fetch(requests))), archive

    results, archive = asyncio.run(run())
    found = {result.url[-5:]: result for result in results}
    assert (found["a.jpg"].route, found["a.jpg"].reason) == (archive, None)
    assert found["a.jpg"].body.startswith(b"/archive/20190425125754")
    assert found["o.jpg"].reason is Reason.OPTED_OUT  # an archive does not circumvent that
