"""Rate limits over real HTTP: when each host gets its requests, how many at a time, and when it gets no more."""

import asyncio
import logging
import socket
from collections import Counter
from contextlib import AsyncExitStack, closing
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.interface import FetchResult
from mmc4_pipeline.images.fetching.rate_limits import MAX_FAILURES_IN_A_ROW
from mmc4_pipeline.images.fetching.settings import FetchSettings
from schemas.reasons import Reason
from tests.mmc4_pipeline.images.web_server import (
    BODY,
    USUAL,
    Crowd,
    Handler,
    Receiver,
    Server,
    fetch_all,
    fetch_from,
    responding,
    serving,
)

GOOD = web.Response(body=BODY)


def recording(times: list[float], *responses: web.Response | int) -> Handler:
    """Record when requests arrive, and respond with these."""
    respond = responding(*responses)

    async def handler(request: web.Request) -> web.StreamResponse:
        times.append(asyncio.get_running_loop().time())
        return await respond(request)

    return handler


def span(times: list[float]) -> float:
    return times[-1] - times[0]


def paths(count: int) -> list[str]:
    return [f"/{number}.jpg" for number in range(count)]


def test_requests_to_a_host_start_some_time_apart() -> None:
    times: list[float] = []
    results, server = fetch_from(recording(times, GOOD), *paths(5), delay_per_host=0.1)
    assert [result.body for result in results] == [BODY] * 5
    assert sorted(server.requested) == paths(5)
    assert span(times) > 0.2  # instead of 0.4: requests take different times to arrive


def test_retry_after_applies_to_all_images_of_a_host(caplog: pytest.LogCaptureFixture) -> None:
    times: list[float] = []
    busy = web.Response(status=429, headers={"Retry-After": "1"})
    with caplog.at_level(logging.INFO, "mmc4_pipeline.images"):
        results, server = fetch_from(recording(times, busy, GOOD), *paths(3), max_open_per_host=1)
    assert [result.body for result in results] == [BODY] * 3
    assert span(times[:2]) > 0.5
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert server.address.removeprefix("http://") in caplog.text


def test_images_of_a_host_whose_pause_would_end_too_late_are_deferred_at_once() -> None:
    busy = web.Response(status=503, headers={"Retry-After": "3600"})
    results, server = fetch_from(responding(busy), *paths(5), max_open_per_host=1, seconds=600)
    assert server.requested == ["/0.jpg"]
    assert {result.reason for result in results} == {Reason.DEFERRED}


def test_a_host_that_wants_too_long_a_pause_gets_no_more_requests(caplog: pytest.LogCaptureFixture) -> None:
    busy = web.Response(status=503, headers={"Retry-After": "86400"})
    with caplog.at_level(logging.WARNING, "mmc4_pipeline.images"):
        results, server = fetch_from(responding(busy), *paths(5), max_open_per_host=1)
    assert server.requested == ["/0.jpg"]
    assert {result.reason for result in results} == {Reason.DEFERRED}
    assert any(server.address.removeprefix("http://") in record.getMessage() for record in caplog.records)


def test_a_busy_host_is_probed_with_one_request_after_its_pause() -> None:
    """Of 8 open requests all are refused; until one is answered, no other is made."""
    times: list[float] = []
    pauses = 0

    async def handler(_request: web.Request) -> web.StreamResponse:
        nonlocal pauses
        times.append(asyncio.get_running_loop().time())
        if len(times) <= 8:
            await asyncio.sleep(0.1)
            return web.Response(status=429)
        if len(times) <= 10:  # the probes
            pauses += 1
            return web.Response(status=429)
        return web.Response(body=BODY)

    results, server = fetch_from(handler, *paths(20), max_open_per_host=8)
    assert {result.reason for result in results} == {None}
    assert (len(server.requested), pauses) == (20 + 8 + 2, 2)


async def abort(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize("bad", [responding(500), responding(502), abort])
def test_a_host_that_keeps_failing_is_skipped(bad: Handler) -> None:
    results, server = fetch_from(bad, *paths(40), max_open_per_host=2)
    assert len(server.requested) >= MAX_FAILURES_IN_A_ROW
    # aiohttp retries at once if a server closes the connection
    assert len(server.requested) <= 2 * (MAX_FAILURES_IN_A_ROW + 2)
    skipped = [result for result in results if "given up after 10 failed requests in a row" in (result.error or "")]
    assert len(skipped) >= 28
    assert {result.reason for result in skipped} == {Reason.HOST_UNAVAILABLE}
    requested = [result for result in results if result not in skipped]
    assert {result.reason for result in requested} <= {Reason.HTTP_ERROR, Reason.HOST_UNAVAILABLE}


def test_a_host_that_responds_now_and_then_is_not_skipped() -> None:
    broken = [500] * (MAX_FAILURES_IN_A_ROW - 1)
    results, server = fetch_from(responding(*broken, 404, *broken, GOOD), *paths(30), max_open_per_host=1)
    assert len(server.requested) == 30
    assert Counter(result.status for result in results) == {500: 18, 404: 1, 200: 11}


def test_of_a_host_that_is_down_only_robots_txt_is_requested() -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))  # bound but not listening
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"

        async def run() -> list[FetchResult]:
            async with Fetcher.open(FetchSettings(**USUAL)) as fetcher:
                return await fetch_all(fetcher, *(address + path for path in paths(100)))

        results = asyncio.run(run())
    assert {result.reason for result in results} == {Reason.HOST_UNAVAILABLE}
    assert all((result.error or "").startswith("robots.txt: ") for result in results)


def test_images_that_remain_at_the_time_limit_are_deferred_and_get_a_second_chance() -> None:
    async def run() -> tuple[list[FetchResult], list[FetchResult], Server]:
        async with serving(responding(GOOD)) as server:
            urls = [server.address + path for path in paths(5)]
            settings = FetchSettings(**{**USUAL, "delay_per_host": 600.0, "max_open_per_host": 1})
            async with Fetcher.open(settings) as fetcher:
                # Enough for robots.txt, after which the host's next request is far away.
                first = await fetch_all(fetcher, *urls, seconds=0.5)
            async with Fetcher.open(FetchSettings(**USUAL)) as fetcher:
                none = await fetch_all(fetcher, *urls, seconds=0.0)  # not even enough for robots.txt
                assert {result.reason for result in none} == {Reason.DEFERRED}
                return first, await fetch_all(fetcher, *urls, seconds=60.0), server

    first, last, server = asyncio.run(run())
    assert {(result.reason, result.body) for result in first} == {(Reason.DEFERRED, b"")}
    assert {(result.reason, result.body) for result in last} == {(None, BODY)}
    assert (sorted(server.requested), server.robots) == (paths(5), 2)


def test_each_hop_of_a_redirect_is_within_the_limits_of_its_own_host() -> None:
    crowd = Crowd()

    async def run() -> tuple[list[FetchResult], Server, Server]:
        async with serving(crowd.respond, host="127.0.0.2") as behind:

            async def redirect(request: web.Request) -> web.StreamResponse:
                raise web.HTTPFound(behind.address + request.path)

            async with AsyncExitStack() as stack:
                fronts = [await stack.enter_async_context(serving(redirect)) for _ in range(10)]
                settings = FetchSettings(**{**USUAL, "max_open_per_host": 2})
                async with Fetcher.open(settings) as fetcher:
                    urls = [front.address + path for front in fronts for path in paths(4)]
                    return await fetch_all(fetcher, *urls), behind, fronts[0]

    results, behind, front = asyncio.run(run())
    assert {result.body for result in results} == {BODY}
    assert (len(behind.requested), len(front.requested), behind.robots, front.robots) == (40, 4, 1, 1)
    assert crowd.most == 2


def lingering(crowd: Crowd, status: int = 200, *, before: bool = False, **headers: str) -> Handler:
    """Respond, but complete the request only some time after the body has been sent, or wait before sending it."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(BODY)
        await response.prepare(request)
        if before:
            await crowd.wait()
        await response.write(BODY)
        await response.write_eof()
        if not before:
            await crowd.wait()
        return response

    return handler


@pytest.mark.parametrize("status", [200, 302, 404])
@pytest.mark.parametrize("before", [True, False])
def test_a_host_that_completes_requests_slowly_gets_no_others_meanwhile(status: int, *, before: bool) -> None:
    crowd, connections = Crowd(), set()
    linger = lingering(crowd, status, before=before)

    async def handler(request: web.Request) -> web.StreamResponse:
        connections.add(request.transport)
        return await linger(request)

    results, server = fetch_from(handler, *paths(40), max_open_per_host=3)
    assert {result.status for result in results} == {status}
    assert len(server.requested) == 40
    assert crowd.most == len(connections) == 3


def test_an_abandoned_response_holds_its_slot_because_the_host_may_still_send_it() -> None:
    crowd = Crowd()
    refusal = {"X-Robots-Tag": "noai"}
    results, _ = fetch_from(lingering(crowd, before=True, **refusal), *paths(5), max_open_per_host=2)
    assert {result.reason for result in results} == {Reason.OPTED_OUT}
    assert crowd.most == 2


def test_a_replay_server_gets_no_more_requests_for_a_host_than_the_host_would() -> None:
    crowds = {f"slow-{number}.example": Crowd() for number in range(4)}
    handlers = {f"quick-{number}.example": responding(web.Response(body=BODY)) for number in range(4)}
    handlers |= {host: lingering(crowd) for host, crowd in crowds.items()}

    async def run() -> list[FetchResult]:
        async def replay(request: web.Request) -> web.StreamResponse:
            return await handlers[urlsplit(request.path_qs[1:]).netloc](request)

        async with serving(replay) as server:
            settings = FetchSettings(routes=(server.address + "/{url}",), **{**USUAL, "max_open_per_host": 2})
            async with Fetcher.open(settings) as fetcher:
                return await fetch_all(fetcher, *(f"https://{host}{path}" for path in paths(20) for host in handlers))

    assert [result.body for result in asyncio.run(run())] == [BODY] * 160
    assert {crowd.most for crowd in crowds.values()} == {2}


@pytest.mark.parametrize("hops", [1, 3])
def test_a_redirect_to_a_denied_host_is_not_followed(hops: int) -> None:
    async def run() -> tuple[FetchResult, Server, Server]:
        async with serving(responding(GOOD), host="127.0.0.2") as denied:

            async def redirect(request: web.Request) -> web.StreamResponse:
                hop = int(request.query.get("hop", "1"))
                raise web.HTTPFound(f"{denied.address}/a.jpg" if hop == hops else f"/a.jpg?hop={hop + 1}")

            receiver = Receiver(denied=lambda url: urlsplit(url).hostname == "127.0.0.2")
            async with serving(redirect) as server, Fetcher.open(FetchSettings(**USUAL)) as fetcher:
                (result,) = await fetch_all(fetcher, f"{server.address}/a.jpg", receiver=receiver)
                return result, server, denied

    result, server, denied = asyncio.run(run())
    assert (result.reason, result.status, result.body) == (Reason.DENIED, 302, b"")
    assert result.error == f"redirected to {denied.address}/a.jpg"
    assert (len(server.requested), denied.requested, denied.robots) == (hops, [], 0)


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/a.jpg", "http://[::ffff:127.0.0.1]:{port}/", "http://10.0.0.1/"]
)
def test_a_redirect_to_a_private_address_is_not_followed(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> tuple[FetchResult, Server, Server]:
        async with serving(responding(GOOD)) as inner:
            port = inner.address.rpartition(":")[2]
            location = responding(web.Response(status=302, headers={"Location": target.format(port=port)}))
            async with serving(location, host="127.0.0.2") as outer:
                # One address of this machine counts as public, so that it can stand for the web.
                from mmc4_pipeline.images.fetching import addresses

                is_public = addresses.is_public
                monkeypatch.setattr(addresses, "is_public", lambda ip: ip == "127.0.0.2" or is_public(ip))
                settings = FetchSettings(**{**USUAL, "allow_private_hosts": False})
                async with Fetcher.open(settings) as fetcher:
                    (result,) = await fetch_all(fetcher, f"{outer.address}/a.jpg")
                    return result, outer, inner

    result, outer, inner = asyncio.run(run())
    assert result.reason is Reason.FORBIDDEN_ADDRESS
    assert "redirected to" in (result.error or "")
    assert (outer.requested, inner.requested, inner.robots) == (["/a.jpg"], [], 0)


HOSTS, PER_HOST = 60, 2


def test_many_hosts_get_requests_concurrently_whatever_one_of_them_does() -> None:
    """No host responds before 80% of the possible requests are open; the slow host waits for all others."""
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

    async def run() -> list[FetchResult]:
        async with AsyncExitStack() as stack:
            servers = [
                await stack.enter_async_context(serving(handler, host=f"127.0.1.{number}")) for number in range(HOSTS)
            ]
            settings = FetchSettings(**{**USUAL, "max_open_per_host": PER_HOST})
            fetcher = await stack.enter_async_context(Fetcher.open(settings))
            slow, *rest = [[server.address + path for path in paths(6)] for server in servers]
            waiting = asyncio.create_task(fetch_all(fetcher, *slow))
            done = await fetch_all(fetcher, *(url for of_host in rest for url in of_host))
            rest_done.set()
            return [*done, *await waiting]

    results = asyncio.run(asyncio.wait_for(run(), 60))
    assert [result.body for result in results] == [BODY] * 6 * HOSTS
    assert set(most.values()) == {PER_HOST}
