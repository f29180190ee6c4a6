"""What happens to this machine while it fetches: it is stopped for longer than a timeout, or its connection is lost."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import pytest

from mmc4_pipeline.images.fetching import interruptions
from mmc4_pipeline.images.fetching.fetcher import MAX_TRIES, Fetcher
from mmc4_pipeline.images.fetching.rate_limits import MAX_FAILURES_IN_A_ROW
from mmc4_pipeline.images.fetching.settings import FetchSettings
from schemas.reasons import Reason
from tests.mmc4_pipeline.file_server import LONGEST, Handler, serving, stalled
from tests.mmc4_pipeline.images.web_server import BODY, fetch_all

STOPPED = 0.6  # seconds, more than the timeout
PICTURE = "/a.jpg"


def settings(**changed: float) -> FetchSettings:
    return FetchSettings(allow_private_hosts=True, delay_per_host=0.0, robots_txt=False, **changed)


async def until(happened: Callable[[], bool]) -> None:
    """Wait until something has happened, for at most a minute or so."""
    for _ in range(60_000):
        if happened():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it did not happen")


@pytest.mark.parametrize("is_closed", [False, True], ids=["silent", "closed"])
def test_what_fails_while_the_process_is_stopped_is_requested_again(
    monkeypatch: pytest.MonkeyPatch, is_closed: bool
) -> None:
    monkeypatch.setattr(interruptions, "ASLEEP", STOPPED / 2)
    monkeypatch.setattr(interruptions, "TICK", STOPPED / 20)
    times, stopped = MAX_TRIES + 1, threading.Semaphore(0)

    def closed(handler: Handler, body: bytes) -> None:
        """Send a part of the body, and close the connection while the process is stopped."""
        handler.answer(200, body[:2], {}, length=len(body))
        handler.close_connection = stopped.acquire(timeout=LONGEST)

    async def run() -> None:
        async with Fetcher.open(settings(timeout=STOPPED * 0.8)) as fetcher:
            fetching = asyncio.create_task(fetch_all(fetcher, server.address + PICTURE))
            for requests in range(1, times + 1):
                await until(lambda: len(server.requests) == requests)  # noqa: B023
                stopped.release()
                time.sleep(STOPPED)  # noqa: ASYNC251 - nothing in this process goes on
            (result,) = await fetching
            assert (result.body, result.reason) == (BODY, None)

    with serving({PICTURE: BODY}) as server:
        server.ways.extend([closed if is_closed else stalled(2)] * times)
        asyncio.run(run())
        assert len(server.requests) > times


@dataclass
class Network:
    """Hosts at addresses of their own, which can be reached or not."""

    ports: dict[str, int] = field(default_factory=dict)
    requested: Counter[str] = field(default_factory=Counter)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def begin(self, *hosts: str) -> None:
        """Let hosts be reached, each at the port that it had before."""
        for host in hosts:
            server = await asyncio.start_server(self._respond, host, self.ports.get(host, 0))
            self.ports[host] = server.sockets[0].getsockname()[1]
            self._stack.push_async_callback(server.wait_closed)
            self._stack.callback(server.close)

    async def end(self) -> None:
        """Let no host be reached."""
        await self._stack.aclose()

    def urls(self, path: str) -> list[str]:
        return [f"http://{host}:{port}{path}" for host, port in self.ports.items()]

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline():  # otherwise only a connection was opened
            self.requested[writer.get_extra_info("sockname")[0]] += 1
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
        writer.close()


HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")


WELL_KNOWN = "127.0.0.9"


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruptions, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(interruptions, "RECENT", 0.0)


@pytest.fixture
def well_known(monkeypatch: pytest.MonkeyPatch) -> Network:
    """Run the only well-known host, which can be reached once it has begun."""
    with socket.create_server((WELL_KNOWN, 0)) as free:
        network = Network({WELL_KNOWN: free.getsockname()[1]})
    monkeypatch.setattr(interruptions, "WELL_KNOWN", list(network.ports.items()))
    return network


def is_waiting(log: pytest.LogCaptureFixture) -> bool:
    return any(record.name == interruptions.__name__ for record in log.records)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("responding", [4, 2, 0], ids=["later", "after two had responded", "from the start"])
def test_a_lost_connection_loses_no_image_and_no_host(
    caplog: pytest.LogCaptureFixture, well_known: Network, responding: int
) -> None:
    async def run() -> None:
        network = Network()
        await network.begin(*HOSTS)
        async with Fetcher.open(settings()) as fetcher:
            await fetch_all(fetcher, *network.urls("/first")[:responding])
            await network.end()
            images = [url for number in range(MAX_FAILURES_IN_A_ROW) for url in network.urls(f"/{number}")]
            fetching = asyncio.create_task(fetch_all(fetcher, *images))
            await until(lambda: is_waiting(caplog))
            await network.begin(*HOSTS)
            await well_known.begin(WELL_KNOWN)
            assert {result.body for result in await fetching} == {BODY}
            images_each = dict.fromkeys(HOSTS, MAX_FAILURES_IN_A_ROW)
            assert network.requested == Counter(images_each) + Counter(HOSTS[:responding])
        assert not well_known.requested
        await network.end()
        await well_known.end()

    asyncio.run(run())


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("domains", [2, 4], ids=["too few to tell", "enough, and a well-known host is there"])
def test_dead_hosts_are_unavailable_although_none_ever_responds(well_known: Network, domains: int) -> None:
    async def run() -> None:
        network = Network()
        await network.begin(*HOSTS[:domains])
        dead = network.urls("/dead")
        await network.end()
        if domains == len(HOSTS):
            await well_known.begin(WELL_KNOWN)
        async with Fetcher.open(settings()) as fetcher:
            assert {result.reason for result in await fetch_all(fetcher, *dead)} == {Reason.HOST_UNAVAILABLE}
        await well_known.end()

    asyncio.run(run())


@pytest.mark.usefixtures("_impatient")
def test_a_network_that_sends_everything_to_itself_is_no_connection(
    caplog: pytest.LogCaptureFixture, well_known: Network
) -> None:
    """A login page's address, which is private, stands in for all hosts until somebody has logged in."""

    async def run() -> None:
        await well_known.begin(WELL_KNOWN)
        async with Fetcher.open(replace(settings(), allow_private_hosts=False)) as fetcher:
            dead = [f"http://host.{number}.invalid/a.jpg" for number in range(len(HOSTS))]
            fetching = asyncio.create_task(fetch_all(fetcher, *dead))
            await until(lambda: is_waiting(caplog))
            fetching.cancel()
        await well_known.end()

    asyncio.run(run())


@pytest.mark.usefixtures("_impatient")
def test_at_the_deadline_what_waits_for_the_connection_is_deferred() -> None:
    async def run() -> None:
        network = Network()
        await network.begin(*HOSTS)
        async with Fetcher.open(settings()) as fetcher:
            await fetch_all(fetcher, *network.urls("/first"))
            await network.end()
            results = await fetch_all(fetcher, *network.urls("/later"), seconds=0.05)
            assert {result.reason for result in results} == {Reason.DEFERRED}

    asyncio.run(run())


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("others", [HOSTS[1:], HOSTS[2:]], ids=["enough to tell", "too few"])
def test_one_dead_host_is_unavailable_and_costs_the_others_no_request(others: tuple[str, ...]) -> None:
    async def run() -> None:
        network = Network()
        await network.begin(HOSTS[0])
        dead = network.urls("/dead")
        await network.end()
        network.ports.clear()
        await network.begin(*others)
        async with Fetcher.open(settings()) as fetcher:
            await fetch_all(fetcher, *network.urls("/first"))
            (result,) = await fetch_all(fetcher, *dead)
            assert result.reason is Reason.HOST_UNAVAILABLE
            assert network.requested == Counter(others)
        await network.end()

    asyncio.run(run())
