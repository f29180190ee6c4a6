"""Fetching over real HTTP: what each answer ends in, how often a server is asked, and whom nobody asks at all."""

import asyncio
import socket
import threading
from collections import Counter
from email.utils import format_datetime

import pytest
from aiohttp import web

from mmc4_pipeline.images.fetching import fetch
from mmc4_pipeline.images.fetching.fetch import Answer, Fetcher, FetchSettings, Request
from schemas.reasons import Drop, Reason
from tests.mmc4_pipeline.images.web_server import (
    BODY,
    MOMENT,
    USUAL,
    Crowd,
    Server,
    answering,
    ask,
    keep,
    noai,
    serving,
)


def test_a_good_answer_has_body_status_and_route() -> None:
    headers = {"X-Robots-Tag": "nofollow"}
    (answer,), server = ask(answering(web.Response(body=BODY, headers=headers)), "/a.jpg", user_agent="tester")
    assert (answer.body, answer.status, answer.reason, answer.error) == (BODY, 200, None, None)
    assert (answer.route, answer.robots_tag) == ("{url}", "nofollow")
    assert server.asked == ["/a.jpg"]
    assert server.headers[0]["User-Agent"] == "tester"
    assert "gzip" not in server.headers[0].get("Accept-Encoding", "")


@pytest.mark.parametrize("status", [204, 206, 401, 403, 404, 410, 500])
def test_other_answers_are_final(status: int) -> None:
    (answer,), server = ask(answering(status), "/a.jpg")
    assert (answer.reason, answer.status, answer.error) == (Reason.HTTP_ERROR, status, f"HTTP {status}")
    assert server.asked == ["/a.jpg"]


@pytest.mark.parametrize(
    ("busy", "wait"), [(429, "0"), (503, "1"), (503, format_datetime(MOMENT, usegmt=True)), (429, "soon"), (503, "")]
)
def test_a_busy_server_is_asked_again(busy: int, wait: str) -> None:
    refusal = web.Response(status=busy, headers={"Retry-After": wait})
    (answer,), server = ask(answering(refusal, web.Response(body=BODY)), "/a.jpg")
    assert (answer.body, answer.reason) == (BODY, None)
    assert len(server.asked) == 2


def test_retry_after_is_honoured() -> None:
    first_asked: list[float] = []

    async def handler(_request: web.Request) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        first_asked.append(now)
        busy = now < first_asked[0] + 0.99  # who comes back before the second is over is refused again
        return web.Response(status=503, headers={"Retry-After": "1"}) if busy else web.Response(body=BODY)

    (answer,), server = ask(handler, "/a.jpg")
    assert (answer.body, len(server.asked)) == (BODY, 2)


@pytest.mark.parametrize("wait", ["86400", "Fri, 31 Dec 9998 23:59:59 GMT"])
def test_a_server_that_wants_a_long_wait_is_left_alone(wait: str) -> None:
    (answer,), server = ask(answering(web.Response(status=503, headers={"Retry-After": wait})), "/a.jpg")
    assert (answer.reason, answer.status) == (Reason.HTTP_ERROR, 503)
    assert "asked to wait" in (answer.error or "")
    assert len(server.asked) == 1


@pytest.mark.parametrize("wait", ["1 Jan 99999999999 00:00:00 GMT", "Mon, 99 Foo 2020", "-5", "9" * 400, "²"])
def test_nonsense_in_retry_after_stops_nothing(wait: str) -> None:
    (answer,), _ = ask(answering(web.Response(status=429, headers={"Retry-After": wait}), 404), "/a.jpg")
    assert answer.reason is Reason.HTTP_ERROR


def test_a_server_that_stays_busy_is_given_up() -> None:
    (answer,), server = ask(answering(503), "/a.jpg")
    assert (answer.reason, answer.error) == (Reason.HTTP_ERROR, "HTTP 503")
    assert len(server.asked) == 3


def test_a_server_that_does_not_answer_is_a_timeout_after_some_tries() -> None:
    async def never(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    (answer,), server = ask(never, "/a.jpg", timeout=0.6)
    assert answer.reason is Reason.TIMEOUT
    assert len(server.asked) == 3


def test_a_body_that_never_ends_is_cut_by_its_size() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    (answer,), server = ask(endless, "/a.jpg", max_bytes=1 << 20)
    assert (answer.reason, answer.body) == (Reason.TOO_LARGE, b"")
    assert len(server.asked) == 1


@pytest.mark.parametrize(("size", "reason"), [(1000, None), (1001, Reason.TOO_LARGE)])
def test_the_size_limit_is_the_last_size_allowed(size: int, reason: Reason | None) -> None:
    (answer,), _ = ask(answering(web.Response(body=b"x" * size)), "/a.jpg", max_bytes=1000)
    assert answer.reason is reason


def test_a_body_shorter_than_announced_is_corrupt() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.close()
        return response

    (answer,), _ = ask(handler, "/a.jpg")
    assert answer.reason is Reason.CORRUPT


def test_a_connection_that_is_dropped_or_refused_is_an_unavailable_host() -> None:
    async def drop(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    (answer,), server = ask(drop, "/a.jpg")
    assert answer.reason is Reason.HOST_UNAVAILABLE
    assert len(server.asked) >= 3
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: nobody else gets the port meanwhile
        (answer,), _ = ask(answering(200), "/a.jpg", routes=(f"http://127.0.0.1:{closed.getsockname()[1]}/a.jpg",))
    assert (answer.reason, answer.status) == (Reason.HOST_UNAVAILABLE, None)


def test_a_name_that_does_not_resolve_is_an_unavailable_host() -> None:
    (answer,), _ = ask(answering(200), "/a.jpg", routes=("http://no-such-host.invalid/a.jpg",))
    assert answer.reason is Reason.HOST_UNAVAILABLE


def test_redirects_are_followed_but_not_for_ever() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/new":
            return web.Response(body=BODY)
        raise web.HTTPFound("/new" if request.path == "/old" else "/loop")

    (good, lost), server = ask(handler, "/old", "/loop")
    assert (good.body, good.reason) == (BODY, None)
    assert (lost.reason, lost.error) == (Reason.HTTP_ERROR, "more than 5 redirects")
    assert Counter(server.asked)["/loop"] <= 6


@pytest.mark.parametrize("target", ["ftp://a.example/a.jpg", "file:///etc/passwd", "http://[broken/", "data:,x", ""])
def test_redirects_out_of_the_web_are_errors(target: str) -> None:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": target})

    (answer,), _ = ask(handler, "/a.jpg")
    assert answer.reason is Reason.HTTP_ERROR
    assert answer.body == b""


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::]", "[::ffff:127.0.0.1]", "127.1", "2130706433"]
)
def test_a_private_address_is_never_asked(host: str) -> None:
    async def run() -> tuple[Answer, Server]:
        async with serving(answering(web.Response(body=BODY))) as server:
            port = server.address.rpartition(":")[2]
            async with Fetcher.open(FetchSettings(timeout=20.0), noai) as fetcher:
                return await fetcher.fetch(Request(f"http://{host}:{port}/a.jpg", MOMENT), keep), server

    answer, server = asyncio.run(run())
    short = host in ("127.1", "2130706433")  # forms that only browsers take for addresses
    assert answer.reason is (Reason.HTTP_ERROR if short else Reason.FORBIDDEN_ADDRESS)
    assert short or "not a public address" in (answer.error or "")
    assert server.asked == []


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
def test_what_is_no_url_stops_nothing(url: str) -> None:
    (answer,), _ = ask(answering(200), "/a.jpg", routes=(url,))
    assert answer.reason in (Reason.HTTP_ERROR, Reason.HOST_UNAVAILABLE)


def test_who_opts_out_is_not_read_and_no_archive_is_asked() -> None:
    headers = {"X-Robots-Tag": "noai"}
    handler = answering(web.Response(body=BODY, headers=headers))
    for refusal in (Drop(Reason.OPTED_OUT, "consent"), Drop("of_a_plug_in", "plug_in")):
        routes = ("{url}", "SERVER/archive/{url}")
        (answer,), server = ask(handler, "/a.jpg", routes=routes, consent=lambda _, refusal=refusal: refusal)
        assert (Drop(answer.reason or "", answer.filter), answer.robots_tag, answer.body) == (refusal, "noai", b"")
        assert server.asked == ["/a.jpg"]


def test_the_next_route_is_asked_where_the_first_has_no_image() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/web/20190425125754im_/"):
            return web.Response(body=BODY)
        return web.Response(status=404) if request.path == "/gone.jpg" else web.Response(body=b"<html>")

    async def images(answer: Answer) -> Reason | None:
        return None if answer.body == BODY else Reason.NOT_AN_IMAGE

    archive = "SERVER/web/{timestamp}im_/{url}"
    answers, _ = ask(handler, "/gone.jpg", "/parked.jpg", routes=("{url}", archive), accept=images)
    for answer in answers:
        assert (answer.body, answer.reason) == (BODY, None)
        assert answer.route.endswith("/web/{timestamp}im_/{url}")


def test_where_no_route_has_it_the_first_ones_answer_counts() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=404 if request.path.startswith("/archive") else 403)

    (answer,), server = ask(handler, "/a.jpg", routes=("{url}", "SERVER/archive/{url}"))
    assert (answer.reason, answer.status, answer.route) == (Reason.HTTP_ERROR, 403, "{url}")
    assert len(server.asked) == 2


def test_a_host_sees_no_more_requests_at_a_time_than_allowed() -> None:
    crowd = Crowd()
    paths = [f"/{number}.jpg" for number in range(40)]
    answers, server = ask(crowd.answer, *paths, max_open_per_host=3)
    assert all(answer.body == BODY for answer in answers)
    assert sorted(server.asked) == sorted(paths)
    assert crowd.most == 3


def test_names_that_nobody_answers_for_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    real, over = socket.getaddrinfo, threading.Event()

    async def run() -> tuple[Answer, list[Answer]]:
        loop, looked_up = asyncio.get_running_loop(), asyncio.Semaphore(0)

        def slow(host: str, *arguments: object, **options: object) -> object:
            if host.endswith(".dead.example"):
                loop.call_soon_threadsafe(looked_up.release)
                over.wait()
                raise socket.gaierror(socket.EAI_NONAME, "no such name")
            return real(host, *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        options = FetchSettings(**{**USUAL, "robots_txt": False})
        async with serving(answering(web.Response(body=BODY))) as server, Fetcher.open(options, noai) as fetcher:
            dead = [Request(f"http://{number}.dead.example/a.jpg", MOMENT) for number in range(100)]
            waiting = [asyncio.create_task(fetcher.fetch(item, keep)) for item in dead]
            try:
                async with asyncio.timeout(10):
                    for _ in dead:
                        await looked_up.acquire()
                live = Request(server.address.replace("127.0.0.1", "localhost") + "/a.jpg", MOMENT)
                answer = await fetcher.fetch(live, keep)
            finally:
                over.set()
            return answer, list(await asyncio.gather(*waiting))

    answer, dead = asyncio.run(run())
    assert answer.body == BODY
    assert {item.reason for item in dead} == {Reason.HOST_UNAVAILABLE}


def test_few_large_bodies_are_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "LARGE_AT_ONCE", 2)
    large, small = [f"/large/{number}" for number in range(10)], [f"/small/{number}" for number in range(5)]
    crowd, left, small_done = Crowd(), set(small), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=BODY.ljust(fetch.LARGE + 1 if "large" in request.path else fetch.LARGE))

    async def accept(answer: Answer) -> None:
        if "small" in answer.url:  # which large ones do not hold up
            left.remove("/small/" + answer.url.rpartition("/")[2])
            if not left:
                small_done.set()
            return
        await small_done.wait()
        await crowd.stay()

    answers, _ = ask(handler, *large, *small, accept=accept, max_open_per_host=20)
    assert [answer.reason for answer in answers] == [None] * 15
    assert crowd.most == 2
