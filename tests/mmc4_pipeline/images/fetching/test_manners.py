"""Manners over real HTTP: who is asked when, how often, and no more."""

import asyncio
import socket
from collections import Counter
from contextlib import AsyncExitStack, closing
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from mmc4_pipeline.images.fetching.fetch import Answer, Fetcher, FetchSettings, Request
from mmc4_pipeline.images.fetching.manners import FAILURES_IN_A_ROW
from schemas.reasons import Reason
from tests.mmc4_pipeline.images.web_server import (
    BODY,
    MOMENT,
    USUAL,
    Crowd,
    Handler,
    Server,
    answering,
    ask,
    keep,
    noai,
    serving,
)

GOOD = web.Response(body=BODY)


def noting(moments: list[float], *answers: web.Response | int) -> Handler:
    """Note when requests come, and answer with these."""
    answer = answering(*answers)

    async def handler(request: web.Request) -> web.StreamResponse:
        moments.append(asyncio.get_running_loop().time())
        return await answer(request)

    return handler


def span(moments: list[float]) -> float:
    return moments[-1] - moments[0]


def paths(count: int) -> list[str]:
    return [f"/{number}.jpg" for number in range(count)]


def test_requests_to_a_host_begin_some_time_apart() -> None:
    moments: list[float] = []
    answers, server = ask(noting(moments, GOOD), *paths(5), delay_per_host=0.1)
    assert [answer.body for answer in answers] == [BODY] * 5
    assert sorted(server.asked) == paths(5)
    assert span(moments) > 0.2  # of 0.4: what a request takes to arrive differs


def test_a_server_s_wish_to_wait_holds_for_all_of_its_images() -> None:
    moments: list[float] = []
    busy = web.Response(status=429, headers={"Retry-After": "1"})
    answers, _ = ask(noting(moments, busy, GOOD), *paths(3), max_open_per_host=1)
    assert [answer.body for answer in answers] == [BODY] * 3
    assert span(moments[:2]) > 0.5


def test_who_asks_for_a_long_wait_is_asked_no_more() -> None:
    answers, server = ask(
        answering(web.Response(status=503, headers={"Retry-After": "3600"})), *paths(5), max_open_per_host=1
    )
    assert server.asked == ["/0.jpg"]
    assert [answer.reason for answer in answers] == [Reason.HTTP_ERROR] + [Reason.HOST_UNAVAILABLE] * 4
    assert {answer.error for answer in answers[1:]} == {"host asked to wait 3600 s"}


async def drop(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize("bad", [answering(500), answering(502), drop])
def test_a_host_that_keeps_failing_is_given_up(bad: Handler) -> None:
    answers, server = ask(bad, *paths(40), max_open_per_host=2)
    assert len(server.asked) >= FAILURES_IN_A_ROW
    assert len(server.asked) <= 2 * (FAILURES_IN_A_ROW + 2)  # aiohttp asks at once again where a server hangs up
    given_up = [answer for answer in answers if "given up after 10 failed requests in a row" in (answer.error or "")]
    assert len(given_up) >= 28
    assert {answer.reason for answer in given_up} == {Reason.HOST_UNAVAILABLE}
    asked = [answer for answer in answers if answer not in given_up]
    assert {answer.reason for answer in asked} <= {Reason.HTTP_ERROR, Reason.HOST_UNAVAILABLE}


def test_a_host_that_answers_now_and_then_is_not_given_up() -> None:
    broken = [500] * (FAILURES_IN_A_ROW - 1)
    answers, server = ask(answering(*broken, 404, *broken, GOOD), *paths(30), max_open_per_host=1)
    assert len(server.asked) == 30
    assert Counter(answer.status for answer in answers) == {500: 18, 404: 1, 200: 11}


def test_where_nobody_listens_robots_txt_is_all_that_is_asked_for() -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))  # bound but not listening
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"

        async def run() -> list[Answer]:
            async with Fetcher.open(FetchSettings(**USUAL), noai) as fetcher:
                return await asyncio.gather(
                    *(fetcher.fetch(Request(address + path, MOMENT), keep) for path in paths(100))
                )

        answers = asyncio.run(run())
    assert {answer.reason for answer in answers} == {Reason.HOST_UNAVAILABLE}
    assert all((answer.error or "").startswith("robots.txt: ") for answer in answers)


def test_what_the_time_ends_first_is_deferred_and_gets_a_second_chance() -> None:
    async def run() -> tuple[list[Answer], list[Answer], Server]:
        async with serving(answering(GOOD)) as server:
            settings = FetchSettings(**{**USUAL, "delay_per_host": 600.0, "max_open_per_host": 1})
            async with Fetcher.open(settings, noai) as fetcher:
                fetcher.give_time(0.5)  # for robots.txt, after which the host's next turn is far away
                wanted = [Request(server.address + path, MOMENT) for path in paths(5)]
                first = await asyncio.gather(*(fetcher.fetch(request, keep) for request in wanted))
            async with Fetcher.open(FetchSettings(**USUAL), noai) as fetcher:
                fetcher.give_time(0.0)  # not even for robots.txt
                none = await asyncio.gather(*(fetcher.fetch(request, keep) for request in wanted))
                assert {answer.reason for answer in none} == {Reason.DEFERRED}
                fetcher.give_time(60.0)
                last = await asyncio.gather(*(fetcher.fetch(request, keep) for request in wanted))
            return first, last, server

    first, last, server = asyncio.run(run())
    assert {(answer.reason, answer.body) for answer in first} == {(Reason.DEFERRED, b"")}
    assert {(answer.reason, answer.body) for answer in last} == {(None, BODY)}
    assert (sorted(server.asked), server.robots) == (paths(5), 2)


def test_each_hop_of_a_redirect_waits_for_its_own_host() -> None:
    crowd = Crowd()

    async def run() -> tuple[list[Answer], Server, Server]:
        async with serving(crowd.answer, host="127.0.0.2") as behind:

            async def redirect(request: web.Request) -> web.StreamResponse:
                raise web.HTTPFound(behind.address + request.path)

            async with AsyncExitStack() as stack:
                fronts = [await stack.enter_async_context(serving(redirect)) for _ in range(10)]
                settings = FetchSettings(**{**USUAL, "max_open_per_host": 2})
                async with Fetcher.open(settings, noai) as fetcher:
                    asked = [Request(front.address + path, MOMENT) for front in fronts for path in paths(4)]
                    return await asyncio.gather(*(fetcher.fetch(request, keep) for request in asked)), behind, fronts[0]

    answers, behind, front = asyncio.run(run())
    assert {answer.body for answer in answers} == {BODY}
    assert (len(behind.asked), len(front.asked), behind.robots, front.robots) == (40, 4, 1, 1)
    assert crowd.most == 2


def lingering(crowd: Crowd, status: int = 200, *, before: bool = False, **headers: str) -> Handler:
    """Answer, and be done with the request only some time after the body, or before it, has gone."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(BODY)
        await response.prepare(request)
        if before:
            await crowd.stay()
        await response.write(BODY)
        await response.write_eof()
        if not before:
            await crowd.stay()
        return response

    return handler


@pytest.mark.parametrize("status", [200, 302, 404])
@pytest.mark.parametrize("before", [True, False])
def test_a_host_that_is_slow_to_end_a_request_gets_no_other_meanwhile(status: int, *, before: bool) -> None:
    crowd, connections = Crowd(), set()
    linger = lingering(crowd, status, before=before)

    async def handler(request: web.Request) -> web.StreamResponse:
        connections.add(request.transport)
        return await linger(request)

    answers, server = ask(handler, *paths(40), max_open_per_host=3)
    assert {answer.status for answer in answers} == {status}
    assert len(server.asked) == 40
    assert crowd.most == len(connections) == 3


def test_a_host_may_still_be_at_an_answer_that_was_cut_off() -> None:
    crowd = Crowd()
    refusal = {"X-Robots-Tag": "noai"}
    answers, _ = ask(lingering(crowd, before=True, **refusal), *paths(5), max_open_per_host=2)
    assert {answer.reason for answer in answers} == {Reason.OPTED_OUT}
    assert crowd.most == 2


def test_a_replay_sees_no_more_requests_for_a_host_than_the_host_would() -> None:
    crowds = {f"slow-{number}.example": Crowd() for number in range(4)}
    handlers = {f"quick-{number}.example": answering(web.Response(body=BODY)) for number in range(4)}
    handlers |= {host: lingering(crowd) for host, crowd in crowds.items()}

    async def run() -> list[Answer]:
        async def replay(request: web.Request) -> web.StreamResponse:
            return await handlers[urlsplit(request.path_qs[1:]).netloc](request)

        async with serving(replay) as server:
            settings = FetchSettings(routes=(server.address + "/{url}",), **{**USUAL, "max_open_per_host": 2})
            async with Fetcher.open(settings, noai) as fetcher:
                asked = [Request(f"https://{host}{path}", MOMENT) for path in paths(20) for host in handlers]
                return await asyncio.gather(*(fetcher.fetch(request, keep) for request in asked))

    assert [answer.body for answer in asyncio.run(run())] == [BODY] * 160
    assert {crowd.most for crowd in crowds.values()} == {2}


@pytest.mark.parametrize("hops", [1, 3])
def test_a_redirect_to_a_denied_host_is_not_followed(hops: int) -> None:
    async def run() -> tuple[Answer, Server, Server]:
        async with serving(answering(GOOD), host="127.0.0.2") as denied:

            async def redirect(request: web.Request) -> web.StreamResponse:
                hop = int(request.query.get("hop", "1"))
                raise web.HTTPFound(f"{denied.address}/a.jpg" if hop == hops else f"/a.jpg?hop={hop + 1}")

            def denies(url: str) -> bool:
                return urlsplit(url).hostname == "127.0.0.2"

            async with serving(redirect) as server, Fetcher.open(FetchSettings(**USUAL), noai, denies) as fetcher:
                return await fetcher.fetch(Request(f"{server.address}/a.jpg", MOMENT), keep), server, denied

    answer, server, denied = asyncio.run(run())
    assert (answer.reason, answer.status, answer.body) == (Reason.DENIED, 302, b"")
    assert answer.error == f"redirected to {denied.address}/a.jpg"
    assert (len(server.asked), denied.asked, denied.robots) == (hops, [], 0)


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/a.jpg", "http://[::ffff:127.0.0.1]:{port}/", "http://10.0.0.1/"]
)
def test_a_redirect_to_a_private_address_is_not_followed(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> tuple[Answer, Server, Server]:
        async with serving(answering(GOOD)) as inner:
            port = inner.address.rpartition(":")[2]
            location = answering(web.Response(status=302, headers={"Location": target.format(port=port)}))
            async with serving(location, host="127.0.0.2") as outer:
                # The web's side: one address of this machine counts as public, all others are judged as ever.
                from mmc4_pipeline.images.fetching import addresses

                judged = addresses.is_public
                monkeypatch.setattr(addresses, "is_public", lambda ip: ip == "127.0.0.2" or judged(ip))
                settings = FetchSettings(**{**USUAL, "allow_private_hosts": False})
                async with Fetcher.open(settings, noai) as fetcher:
                    return await fetcher.fetch(Request(f"{outer.address}/a.jpg", MOMENT), keep), outer, inner

    answer, outer, inner = asyncio.run(run())
    assert answer.reason is Reason.FORBIDDEN_ADDRESS
    assert "redirected to" in (answer.error or "")
    assert (outer.asked, inner.asked, inner.robots) == (["/a.jpg"], [], 0)


HOSTS, PER_HOST = 60, 2


def test_many_hosts_are_asked_side_by_side_whatever_one_of_them_does() -> None:
    """No answer is given before 80% of the requests that may be open are; the slow host waits for all others."""
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    enough, rest_done = asyncio.Event(), asyncio.Event()
    possible = (HOSTS - 1) * PER_HOST

    async def handler(request: web.Request) -> web.StreamResponse:
        host = request.host.partition(":")[0]
        now[host] += 1
        most[host] = max(most[host], now[host])
        if host == "127.0.1.0":
            await rest_done.wait()
        elif now.total() >= 0.8 * possible:
            enough.set()
        await enough.wait()
        now[host] -= 1
        return web.Response(body=BODY)

    async def run() -> list[Answer]:
        async with AsyncExitStack() as stack:
            servers = [
                await stack.enter_async_context(serving(handler, host=f"127.0.1.{number}")) for number in range(HOSTS)
            ]
            settings = FetchSettings(**{**USUAL, "max_open_per_host": PER_HOST})
            fetcher = await stack.enter_async_context(Fetcher.open(settings, noai))
            slow, *rest = [
                [fetcher.fetch(Request(server.address + path, MOMENT), keep) for path in paths(6)] for server in servers
            ]
            waiting = asyncio.gather(*slow)
            done = await asyncio.gather(*(work for of_host in rest for work in of_host))
            rest_done.set()
            return [*done, *await waiting]

    answers = asyncio.run(asyncio.wait_for(run(), 60))
    assert [answer.body for answer in answers] == [BODY] * 6 * HOSTS
    assert set(most.values()) == {PER_HOST}
