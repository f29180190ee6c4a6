"""Fetching over real HTTP: the result of each response, how often requests are made, and which are never made."""

import asyncio
import socket
import threading
from collections import Counter

import pytest
from aiohttp import web

from mmc4_pipeline.images.fetching import client
from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.interface import FetchResult
from mmc4_pipeline.images.fetching.messages import LARGE_BODY
from mmc4_pipeline.images.fetching.settings import FetchSettings
from schemas.reasons import Drop, Reason
from tests.mmc4_pipeline.images.web_server import (
    BODY,
    USUAL,
    Crowd,
    Server,
    fetch_all,
    fetch_from,
    responding,
    serving,
)


def test_a_good_response_has_body_status_and_route() -> None:
    headers = {"X-Robots-Tag": "nofollow"}
    (result,), server = fetch_from(responding(web.Response(body=BODY, headers=headers)), "/a.jpg", user_agent="tester")
    assert (result.body, result.status, result.reason, result.error) == (BODY, 200, None, None)
    assert (result.route, result.robots_tag) == ("{url}", "nofollow")
    assert server.requested == ["/a.jpg"]
    assert server.headers[0]["User-Agent"] == "tester"
    assert "gzip" not in server.headers[0].get("Accept-Encoding", "")


@pytest.mark.parametrize("status", [204, 205, 206, 401, 403, 404, 410, 500])
def test_other_statuses_are_final(status: int) -> None:
    (result,), server = fetch_from(responding(status), "/a.jpg")
    assert (result.reason, result.status, result.error) == (Reason.HTTP_ERROR, status, f"HTTP {status}")
    assert server.requested == ["/a.jpg"]


@pytest.mark.parametrize(
    ("busy", "wait"), [(429, "0"), (503, "1"), (503, "Thu, 25 Apr 2019 12:57:54 GMT"), (429, "soon"), (503, "")]
)
def test_a_request_to_a_busy_server_is_retried(busy: int, wait: str) -> None:
    refusal = web.Response(status=busy, headers={"Retry-After": wait})
    (result,), server = fetch_from(responding(refusal, web.Response(body=BODY)), "/a.jpg")
    assert (result.body, result.reason) == (BODY, None)
    assert len(server.requested) == 2


def test_retry_after_is_honoured() -> None:
    times: list[float] = []

    async def handler(_request: web.Request) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        times.append(now)
        busy = now < times[0] + 0.99  # a retry before the second is over is refused again
        return web.Response(status=503, headers={"Retry-After": "1"}) if busy else web.Response(body=BODY)

    (result,), server = fetch_from(handler, "/a.jpg")
    assert (result.body, len(server.requested)) == (BODY, 2)


@pytest.mark.parametrize("wait", ["86400", "Fri, 31 Dec 9998 23:59:59 GMT", "9" * 400])
def test_an_image_of_a_server_that_wants_a_long_wait_is_deferred(wait: str) -> None:
    (result,), server = fetch_from(responding(web.Response(status=503, headers={"Retry-After": wait})), "/a.jpg")
    assert (result.reason, result.status) == (Reason.DEFERRED, 503)
    assert "asked to wait" in (result.error or "")
    assert len(server.requested) == 1


@pytest.mark.parametrize("wait", ["1 Jan 99999999999 00:00:00 GMT", "Mon, 99 Foo 2020", "-5", "²"])
def test_an_invalid_retry_after_is_ignored(wait: str) -> None:
    (result,), _ = fetch_from(responding(web.Response(status=429, headers={"Retry-After": wait}), 404), "/a.jpg")
    assert result.reason is Reason.HTTP_ERROR


def test_an_image_of_a_server_that_stays_busy_is_deferred_when_the_time_is_over() -> None:
    (result,), server = fetch_from(responding(429), "/a.jpg", seconds=2.0)
    assert (result.reason, result.status) == (Reason.DEFERRED, 429)
    assert (result.error or "").startswith("HTTP 429")
    assert len(server.requested) == 3  # pauses of 0.5 and 1 s; the next one would end too late


def test_an_address_that_is_unavailable_fails_after_some_tries() -> None:
    (result,), server = fetch_from(responding(503), "/a.jpg")
    assert (result.reason, result.error) == (Reason.HTTP_ERROR, "HTTP 503")
    assert len(server.requested) == 3


def test_a_body_that_breaks_off_is_requested_again() -> None:
    remaining = [2]

    async def handler(request: web.Request) -> web.StreamResponse:
        if not remaining[0]:
            return web.Response(body=BODY)
        remaining[0] -= 1
        response = web.StreamResponse()
        response.content_length = 2 * len(BODY)
        await response.prepare(request)
        await response.write(BODY)
        assert request.transport is not None
        request.transport.close()
        return response

    (result,), server = fetch_from(handler, "/a.jpg")
    assert (result.body, result.reason) == (BODY, None)
    assert len(server.requested) == 3


def test_a_server_that_does_not_respond_is_a_timeout_after_some_tries() -> None:
    async def never(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    (result,), server = fetch_from(never, "/a.jpg", timeout=0.6)
    assert result.reason is Reason.TIMEOUT
    assert len(server.requested) == 3


def test_an_endless_body_is_limited_by_its_size() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    (result,), server = fetch_from(endless, "/a.jpg", max_bytes=1 << 20)
    assert (result.reason, result.body) == (Reason.TOO_LARGE, b"")
    assert len(server.requested) == 1


@pytest.mark.parametrize(("size", "reason"), [(1000, None), (1001, Reason.TOO_LARGE)])
def test_the_size_limit_is_the_largest_allowed_size(size: int, reason: Reason | None) -> None:
    (result,), _ = fetch_from(responding(web.Response(body=b"x" * size)), "/a.jpg", max_bytes=1000)
    assert result.reason is reason


def test_a_body_shorter_than_announced_is_corrupt() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.close()
        return response

    (result,), _ = fetch_from(handler, "/a.jpg")
    assert result.reason is Reason.CORRUPT


def test_a_connection_that_is_aborted_or_refused_is_an_unavailable_host() -> None:
    async def abort(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    (result,), server = fetch_from(abort, "/a.jpg")
    assert result.reason is Reason.HOST_UNAVAILABLE
    assert len(server.requested) >= 3
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening, so that no other process gets the port
        (result,), _ = fetch_from(
            responding(200), "/a.jpg", routes=(f"http://127.0.0.1:{closed.getsockname()[1]}/a.jpg",)
        )
    assert (result.reason, result.status) == (Reason.HOST_UNAVAILABLE, None)


def test_a_name_that_does_not_resolve_is_an_unavailable_host() -> None:
    (result,), _ = fetch_from(responding(200), "/a.jpg", routes=("http://no-such-host.invalid/a.jpg",))
    assert result.reason is Reason.HOST_UNAVAILABLE


def test_redirects_are_followed_but_not_forever() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/new":
            return web.Response(body=BODY)
        raise web.HTTPFound("/new" if request.path == "/old" else "/loop")

    (good, lost), server = fetch_from(handler, "/old", "/loop")
    assert (good.body, good.reason) == (BODY, None)
    assert (lost.reason, lost.error) == (Reason.HTTP_ERROR, "more than 5 redirects")
    assert Counter(server.requested)["/loop"] <= 6


@pytest.mark.parametrize("target", ["ftp://a.example/a.jpg", "file:///etc/passwd", "http://[broken/", "data:,x", ""])
def test_redirects_out_of_the_web_are_errors(target: str) -> None:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": target})

    (result,), _ = fetch_from(handler, "/a.jpg")
    assert result.reason is Reason.HTTP_ERROR
    assert result.body == b""


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::]", "[::ffff:127.0.0.1]", "127.1", "2130706433"]
)
def test_no_request_is_made_to_a_private_address(host: str) -> None:
    async def run() -> tuple[FetchResult, Server]:
        async with serving(responding(web.Response(body=BODY))) as server:
            port = server.address.rpartition(":")[2]
            async with Fetcher.open(FetchSettings(timeout=20.0)) as fetcher:
                (result,) = await fetch_all(fetcher, f"http://{host}:{port}/a.jpg")
                return result, server

    result, server = asyncio.run(run())
    assert result.reason is Reason.FORBIDDEN_ADDRESS
    assert "not a public address" in (result.error or "")
    assert server.requested == []


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://a:99999/",
        "http://[::1",
        "http://a b/",
        "nonsense",
        "",
        "http://" + "x" * 300 + "/",
        "http://..../",
    ],
)
def test_an_invalid_url_is_a_result_like_any_other(url: str) -> None:
    (result,), _ = fetch_from(responding(200), "/a.jpg", routes=(url,))
    assert result.reason in (Reason.HTTP_ERROR, Reason.HOST_UNAVAILABLE)


def test_an_image_that_opts_out_is_not_read_and_no_archive_is_tried() -> None:
    headers = {"X-Robots-Tag": "noai"}
    handler = responding(web.Response(body=BODY, headers=headers))
    for refusal in (Drop(Reason.OPTED_OUT, "consent"), Drop("of_a_plug_in", "plug_in")):
        routes = ("{url}", "SERVER/archive/{url}")
        (result,), server = fetch_from(handler, "/a.jpg", routes=routes, consent=lambda _, refusal=refusal: refusal)
        assert (Drop(result.reason or "", result.filter), result.robots_tag, result.body) == (refusal, "noai", b"")
        assert server.requested == ["/a.jpg"]


def test_the_next_route_is_tried_if_the_first_has_no_image() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/web/20190425125754im_/"):
            return web.Response(body=BODY)
        return web.Response(status=404) if request.path == "/gone.jpg" else web.Response(body=b"<html>")

    async def images(result: FetchResult) -> Reason | None:
        return None if result.body == BODY else Reason.NOT_AN_IMAGE

    archive = "SERVER/web/{timestamp}im_/{url}"
    results, _ = fetch_from(handler, "/gone.jpg", "/parked.jpg", routes=("{url}", archive), accept=images)
    for result in results:
        assert (result.body, result.reason) == (BODY, None)
        assert result.route.endswith("/web/{timestamp}im_/{url}")


def test_if_no_route_has_the_image_the_first_result_counts() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=404 if request.path.startswith("/archive") else 403)

    (result,), server = fetch_from(handler, "/a.jpg", routes=("{url}", "SERVER/archive/{url}"))
    assert (result.reason, result.status, result.route) == (Reason.HTTP_ERROR, 403, "{url}")
    assert len(server.requested) == 2


def test_a_host_gets_no_more_concurrent_requests_than_allowed() -> None:
    crowd = Crowd()
    paths = [f"/{number}.jpg" for number in range(40)]
    results, server = fetch_from(crowd.respond, *paths, max_open_per_host=3)
    assert all(result.body == BODY for result in results)
    assert sorted(server.requested) == sorted(paths)
    assert crowd.most == 3


def test_names_that_do_not_resolve_do_not_delay_others(monkeypatch: pytest.MonkeyPatch) -> None:
    real, over = socket.getaddrinfo, threading.Event()

    async def run() -> tuple[FetchResult, list[FetchResult]]:
        loop, looked_up = asyncio.get_running_loop(), asyncio.Semaphore(0)

        def slow(host: str, *arguments: object, **options: object) -> object:
            if host.endswith(".dead.example"):
                loop.call_soon_threadsafe(looked_up.release)
                over.wait()
                raise socket.gaierror(socket.EAI_NONAME, "no such name")
            return real(host, *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        options = FetchSettings(**{**USUAL, "robots_txt": False})
        async with serving(responding(web.Response(body=BODY))) as server, Fetcher.open(options) as fetcher:
            dead = [f"http://{number}.dead.example/a.jpg" for number in range(100)]
            waiting = asyncio.create_task(fetch_all(fetcher, *dead))
            try:
                async with asyncio.timeout(10):
                    for _ in dead:
                        await looked_up.acquire()
                live = server.address.replace("127.0.0.1", "localhost") + "/a.jpg"
                (result,) = await fetch_all(fetcher, live)
            finally:
                over.set()
            return result, await waiting

    result, dead = asyncio.run(run())
    assert result.body == BODY
    assert {item.reason for item in dead} == {Reason.HOST_UNAVAILABLE}


def test_only_a_few_large_bodies_are_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_LARGE_BODIES", 2)
    large, small = [f"/large/{number}" for number in range(10)], [f"/small/{number}" for number in range(5)]
    crowd, remaining, small_done = Crowd(), set(small), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=BODY.ljust(LARGE_BODY + 1 if "large" in request.path else LARGE_BODY))

    async def accept(result: FetchResult) -> None:
        if "small" in result.url:  # large bodies do not delay small ones
            remaining.remove("/small/" + result.url.rpartition("/")[2])
            if not remaining:
                small_done.set()
            return
        await small_done.wait()
        await crowd.wait()

    results, _ = fetch_from(handler, *large, *small, accept=accept, max_open_per_host=20)
    assert [result.reason for result in results] == [None] * 15
    assert crowd.most == 2
