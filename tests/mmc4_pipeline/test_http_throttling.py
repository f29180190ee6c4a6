"""A server that has too many requests: the whole process slows down for minutes before it gives up."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage import HttpSettings, Inputs
from tests.mmc4_pipeline.file_server import FileServer, Handler, Way, status, well
from tests.mmc4_pipeline.virtual_clock import VirtualClock, virtual_clock

FILE = bytes(range(256)) * 40
NOW = HttpSettings()  # as users have it: the pauses take minutes, of the virtual clock
INPUTS = Inputs(NOW)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    return virtual_clock(monkeypatch)


@pytest.fixture
def server(serve: Callable[[dict[str, bytes]], FileServer]) -> FileServer:
    return serve({"/a": FILE})


def read(server: FileServer, start: int = 0) -> bytes:
    return INPUTS.read_range(f"{server.address}/a", start, 10)


def pauses(caplog: pytest.LogCaptureFixture) -> list[float]:
    """Return the seconds of each pause that the log announces."""
    found = (re.search(r"no requests to 127\.0\.0\.1:\d+ for (\d+\.\d) s", line) for line in caplog.messages)
    return [float(one[1]) for one in found if one]


@pytest.mark.parametrize(("code", "minutes"), [(403, 20), (429, 9), (503, 9)])
def test_the_process_slows_down_for_minutes_before_the_job_fails(
    server: FileServer, clock: VirtualClock, caplog: pytest.LogCaptureFixture, code: int, minutes: int
) -> None:
    assert read(server) == FILE[:10]
    began, server.usual = clock.monotonic(), status(code)
    with pytest.raises(UserError, match=rf"/a: .*HTTP {code}.*--cc_requests_per_second.*--resume"):
        read(server)
    assert len(server.requests) == 1 + NOW.tries
    assert 60 * minutes < clock.monotonic() - began < 60 * 30
    announced = pauses(caplog)
    assert len(announced) == NOW.tries - 1
    assert all(before * 1.5 < after for before, after in pairwise(announced) if after < 100)
    assert max(announced) <= 1.25 * NOW.longest_wait


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("code", [403, 429, 503])
def test_a_pause_ends_with_the_first_response_and_the_next_one_is_short(
    server: FileServer, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    busy = status(code)
    server.ways.extend([well, busy, busy, busy, busy, well, busy])
    assert [read(server) for _ in range(3)] == [FILE[:10]] * 3
    announced = pauses(caplog)
    assert len(announced) == 5
    assert max(announced[:4]) > 1.5 * announced[4]


def test_retry_after_is_honoured(server: FileServer, clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    server.ways.extend([well, *(status(code, Retry_After="290") for code in (403, 429, 503))])
    read(server)
    began = clock.monotonic()
    assert read(server) == FILE[:10]
    assert pauses(caplog) == [290.0] * 3
    assert clock.monotonic() - began >= 3 * 290


@pytest.mark.usefixtures("clock")
def test_all_threads_pause(server: FileServer, caplog: pytest.LogCaptureFixture) -> None:
    threads, arrived = 8, threading.Barrier(8)

    def busy_all_at_once(handler: Handler, body: bytes) -> None:
        arrived.wait(30)  # every request was sent before the first response
        status(503)(handler, body)

    server.ways.extend([busy_all_at_once] * threads)
    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(lambda start: read(server, start), range(threads))) == [
            FILE[start : start + 10] for start in range(threads)
        ]
    assert len(server.requests) == 2 * threads
    assert len(pauses(caplog)) == 1  # one pause for all of them, not one for each


def test_a_server_that_limits_its_requests_answers_most_of_them(server: FileServer, clock: VirtualClock) -> None:
    server.usual = limited(clock, per_second=4.0)
    assert [read(server, start % 1000) for start in range(300)] == [
        FILE[start % 1000 : start % 1000 + 10] for start in range(300)
    ]
    refused = sum(one.status == 503 for one in server.requests)
    assert 0 < refused < 40


def limited(clock: VirtualClock, per_second: float) -> Way:
    """Respond 503 to whatever exceeds the rate, over ten seconds."""
    served: list[float] = []

    def way(handler: Handler, body: bytes) -> None:
        now = clock.monotonic()
        if sum(one > now - 10 for one in served[-100:]) >= per_second * 10:
            status(503)(handler, body)
        else:
            served.append(now)
            well(handler, body)

    return way


def test_a_host_that_refuses_every_request_is_not_tried_for_long(server: FileServer, clock: VirtualClock) -> None:
    began, server.usual = clock.monotonic(), status(403)
    with pytest.raises(UserError, match=r"/a: .*HTTP 403.*--resume"):
        read(server)
    assert len(server.requests) == 3
    assert 60 < clock.monotonic() - began < 300


def test_a_request_that_needs_a_login_ends_the_run_at_once(server: FileServer, clock: VirtualClock) -> None:
    began, server.usual = clock.monotonic(), status(401)
    with pytest.raises(UserError, match=r"/a: refused \(HTTP 401"):
        read(server)
    assert len(server.requests) == 1
    assert clock.monotonic() == began
