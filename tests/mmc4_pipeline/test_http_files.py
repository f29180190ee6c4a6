"""Files over HTTP from a server that is busy, slow, broken or wrong: the right bytes, once, or one clear line."""

import io
import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastwarc import ArchiveIterator
from hypothesis import given
from hypothesis import strategies as st
from warcio.warcwriter import WARCWriter

from mmc4_pipeline import storage
from mmc4_pipeline.errors import PermanentReadError, UserError
from mmc4_pipeline.storage import HttpSettings, Inputs
from mmc4_pipeline.storage.http.client import HttpClient
from mmc4_pipeline.storage.http.files import HttpStream
from tests.mmc4_pipeline.file_server import (
    IMPATIENT,
    INPUTS,
    FileServer,
    Way,
    claiming,
    cut,
    serving,
    slow,
    stalled,
    status,
    well,
    without_length,
    without_range,
)

Serve = Callable[[dict[str, bytes]], FileServer]
FILE = random.Random(1).randbytes(3 << 20)
TEMPORARY = [
    *(status(code) for code in (429, 500, 502, 503, 504)),
    status(503, Retry_After="0"),
    status(503, Retry_After="soon"),
    cut(0),
    cut(1000),
    stalled(0),
    stalled(1000),
    slow(5, 0.01),
]


@pytest.fixture
def server(serve: Serve) -> FileServer:
    return serve({"/a": FILE})


@pytest.fixture
def url(server: FileServer) -> str:
    return f"{server.address}/a"


def once(server: FileServer) -> list[tuple[int, int]]:
    """Return what the server sent, after checking that no byte was sent twice."""
    spans = sorted(server.spans())
    assert all(before[1] <= after[0] for before, after in pairwise(spans)), spans
    return spans


def read_stream(url: str) -> bytes:
    with INPUTS.open_stream(url) as stream:
        return stream.read()


def test_a_file_read_in_order_is_one_request_with_the_user_agent(server: FileServer, url: str) -> None:
    assert read_stream(url) == INPUTS.read_bytes(url) == FILE
    assert [(one.start, one.end, one.sent) for one in server.finished()] == [(0, None, len(FILE))] * 2
    named = Inputs(HttpSettings("tester/1 (+https://a.example)"))
    assert named.read_range(url, 7, 3) == FILE[7:10]
    who = [one.user_agent for one in server.requests]
    assert who[0].startswith("mmc4-pipeline/")
    assert "Common Crawl" in who[0]
    assert who[2] == "tester/1 (+https://a.example)"


@pytest.mark.parametrize("way", TEMPORARY)
def test_temporary_failures_lose_nothing_and_read_nothing_twice(server: FileServer, url: str, way: Way) -> None:
    server.ways.extend([way, way, well])
    assert read_stream(url) == FILE
    assert once(server)[-1][1] == len(FILE)
    server.requests.clear()
    server.ways.extend([way, way, well])
    assert INPUTS.read_range(url, 100_000, 50_000) == FILE[100_000:150_000]
    assert (once(server)[0][0], once(server)[-1][1]) == (100_000, 150_000)


def test_a_long_file_may_break_more_often_than_there_are_tries(server: FileServer, url: str) -> None:
    server.files["/a"] = FILE * 4
    server.usual = cut(1_100_000)
    assert read_stream(url) == FILE * 4
    assert len(once(server)) > IMPATIENT.tries


@pytest.mark.parametrize("way", [status(503), status(500), cut(0), cut(10), stalled(10)])
def test_tries_are_limited_and_their_end_is_not_a_reason_to_drop(server: FileServer, url: str, way: Way) -> None:
    server.usual = way
    with pytest.raises(UserError, match=r"/a: .*in 5 tries .*with --resume") as caught:
        INPUTS.read_range(url, 0, 1000)
    assert not isinstance(caught.value, PermanentReadError)
    assert len(server.requests) == 5


def test_a_trickle_counts_as_stalled(server: FileServer, url: str) -> None:
    server.usual = slow(3_000, 0.1)
    with pytest.raises(UserError, match=r"in 5 tries \(only \d+ bytes"):
        INPUTS.read_range(url, 0, 3_000)


def test_a_server_that_never_responded_is_tried_less_often() -> None:
    with serving({}) as gone:
        url = f"{gone.address}/a"
    many_tries = Inputs(HttpSettings(first_wait=0.001, requests_per_second=1000))
    with pytest.raises(UserError, match="in 3 tries"):
        many_tries.read_range(url, 0, 1)


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_waited_for_by_all_threads(
    server: FileServer, url: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    until = int(time.time()) + 2  # a date has whole seconds
    server.ways.append(status(code, Retry_After=formatdate(until, usegmt=True)))
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(INPUTS.read_range, url, 0, 10)
        while not caplog.records and not first.done():
            time.sleep(0.001)
        others = [pool.submit(INPUTS.read_range, url, number, 10) for number in range(3)]
        assert [future.result() for future in [first, *others]] == [FILE[n : n + 10] for n in (0, 0, 1, 2)]
    assert len(server.requests) == 5
    assert all(one.time >= until for one in server.requests[1:])
    (warning,) = caplog.records
    assert (warning.levelname, warning.name.split(".")[0]) == ("WARNING", "mmc4_pipeline")
    assert re.search(rf"{url}: HTTP {code}; .*127\.0\.0\.1:\d+ for \d+\.\d s", warning.getMessage())


def test_retry_after_in_seconds_is_waited_for(server: FileServer, url: str) -> None:
    server.ways.append(status(503, Retry_After="1"))
    assert INPUTS.read_range(url, 0, 10) == FILE[:10]
    assert server.requests[1].time >= server.requests[0].time + 1


@pytest.mark.parametrize(
    "value", ["86400", formatdate(time.time() + 86400, usegmt=True), "9" * 400], ids=["seconds", "date", "digits"]
)
def test_a_server_that_demands_a_long_wait_ends_the_run(server: FileServer, url: str, value: str) -> None:
    server.usual = status(503, Retry_After=value)
    with pytest.raises(UserError, match=r"HTTP 503.* (\d{5}|inf) s.*--resume"):
        INPUTS.read_range(url, 0, 10)
    assert len(server.requests) == 1


def test_the_rate_is_kept(server: FileServer, url: str) -> None:
    slowed = Inputs(HttpSettings(requests_per_second=50, first_wait=0.001))
    server.ways.extend([well, status(500), well, cut(3)])
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda start: slowed.read_range(url, start, 10), range(8)))
    assert len(server.requests) == 10
    assert time.monotonic() - began >= 9 / 50


def test_a_refusal_ends_the_run_and_a_missing_file_does_not(server: FileServer, url: str) -> None:
    assert INPUTS.exists(url)
    for read in (INPUTS.read_bytes, INPUTS.open_read, INPUTS.size):
        with pytest.raises(PermanentReadError, match=r"/gone: cannot be read \(HTTP 404\)"):
            read(f"{server.address}/gone")
    assert not INPUTS.exists(f"{server.address}/gone")
    server.usual = status(403)
    before = len(server.requests)
    for read in (INPUTS.read_bytes, INPUTS.open_read, INPUTS.exists):
        with pytest.raises(UserError, match=r"refused in 5 tries \(HTTP 403\)") as caught:
            read(url)
        assert not isinstance(caught.value, PermanentReadError)
    assert len(server.requests) == before + 3 * IMPATIENT.tries


def test_a_busy_server_does_not_make_a_file_missing(server: FileServer, url: str) -> None:
    server.ways.extend([status(503), status(503)])
    assert INPUTS.exists(url)


def test_ranges_past_the_end_are_short(server: FileServer, url: str) -> None:
    assert INPUTS.read_range(url, len(FILE) - 5, 10) == FILE[-5:]
    assert INPUTS.read_range(url, len(FILE), 10) == b""
    assert INPUTS.read_range(url, len(FILE) + 5, 10) == b""
    server.usual = without_range
    assert INPUTS.read_range(url, len(FILE) - 5, 10) == FILE[-5:]
    assert INPUTS.read_range(url, len(FILE) + 5, 10) == b""


def test_an_empty_file_is_empty(serve: Serve) -> None:
    server = serve({"/a": b""})
    assert INPUTS.read_bytes(f"{server.address}/a") == b""
    assert INPUTS.size(f"{server.address}/a") == 0


@pytest.mark.parametrize(
    "way",
    [
        claiming("bytes 0-9/3145728", shift=20),
        claiming("bytes 20-40/3145728", shift=20),
        claiming("bytes 20-9/3145728", shift=20),
        claiming("bytes 20-29/25", shift=20),
        claiming("20-29", shift=20),
        claiming("", shift=20),
        status(416, Content_Range=f"bytes */{len(FILE)}"),
    ],
)
def test_bytes_that_were_not_requested_are_never_used(server: FileServer, url: str, way: Way) -> None:
    server.usual = way
    with pytest.raises(PermanentReadError, match=r"from 20 to 30|HTTP 416 for byte 20"):
        INPUTS.read_range(url, 20, 10)


def test_a_file_that_changes_while_it_is_read_is_not_mixed(server: FileServer, url: str) -> None:
    server.ways.append(cut(1_500_000))
    with INPUTS.open_stream(url) as stream:
        stream.read(10)
        server.etag = '"2"'
        with pytest.raises(UserError, match=r"changed while.*--resume"):
            stream.read()


def test_a_server_that_ignores_range_is_read_in_one_stream(server: FileServer, url: str) -> None:
    server.usual = without_range
    ranges = [(10, 5), (400_000, 100_000), (2_900_000, 10)]
    assert list(INPUTS.read_ranges(url, ranges)) == [FILE[start : start + length] for start, length in ranges]
    assert len(server.requests) == 1


def test_a_broken_stream_of_a_server_that_ignores_range_goes_on(server: FileServer, url: str) -> None:
    def cut_whole(handler: object, body: bytes) -> None:
        handler.answer(200, body[:600_000], {}, length=len(body))  # type: ignore[attr-defined]
        handler.close_connection = True  # type: ignore[attr-defined]

    server.ways.append(cut_whole)
    server.usual = without_range
    assert list(INPUTS.read_ranges(url, [(5, 5), (500_000, 200_000)])) == [FILE[5:10], FILE[500_000:700_000]]
    assert len(server.requests) == 2


def test_a_file_of_undeclared_length_is_read_to_its_end(server: FileServer, url: str) -> None:
    server.usual = without_length
    assert read_stream(url) == FILE
    assert INPUTS.read_range(url, 9, 9) == FILE[9:18]
    assert INPUTS.read_range(url, len(FILE) - 1, 9) == FILE[-1:]
    with pytest.raises(UserError, match=r"/a: .*size"):
        INPUTS.size(url)


def test_ranges_come_in_order_and_each_by_itself(server: FileServer, url: str) -> None:
    ranges = [(start, 1000) for start in range(0, 2_000_000, 100_000)]
    server.ways.extend([well, slow(2, 0.05), status(503), cut(500), claiming("bytes 1-2/3")])
    outcomes = list(INPUTS.read_ranges(url, ranges))
    wrong = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, PermanentReadError)]
    assert len(wrong) == 1
    for number, (start, length) in enumerate(ranges):
        assert number in wrong or outcomes[number] == FILE[start : start + length]
    assert list(INPUTS.read_ranges(f"{server.address}/gone", [])) == []


def test_a_missing_file_is_not_requested_for_each_range(server: FileServer) -> None:
    outcomes = list(INPUTS.read_ranges(f"{server.address}/gone", [(start, 5) for start in range(0, 500, 10)]))
    assert {str(outcome) for outcome in outcomes} == {f"{server.address}/gone: cannot be read (HTTP 404)"}
    assert len(outcomes) == 50
    assert len(server.requests) <= 2


def test_a_column_of_a_parquet_file_costs_its_own_bytes(serve: Serve) -> None:
    rows = 50_000
    big = pa.array([random.Random(row).randbytes(100) for row in range(rows)])
    out = io.BytesIO()
    pq.write_table(pa.table({"small": range(rows), "big": big, "last": range(rows)}), out, row_group_size=rows // 4)
    server = serve({"/a": out.getvalue()})
    server.ways.extend([well, cut(100), status(503)])
    with INPUTS.open_read(f"{server.address}/a") as stream:
        assert pq.ParquetFile(stream).read_row_group(2, columns=["last"])["last"][0].as_py() == rows // 2
    assert sum(one.sent for one in server.finished()) < len(out.getvalue()) / 4
    once(server)


def test_errors_pass_through_the_readers_of_formats(serve: Serve) -> None:
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=True)
    for number in range(200):
        body = random.Random(number).randbytes(20_000)
        writer.write_record(
            writer.create_warc_record(f"http://a.example/{number}", "resource", io.BytesIO(body), len(body))
        )
    server = serve({"/a": out.getvalue()})
    server.ways.append(cut(1_500_000))
    with INPUTS.open_stream(f"{server.address}/a") as stream:
        assert sum(1 for _ in ArchiveIterator(stream)) == 200
    assert len(once(server)) == 2
    server.ways.append(cut(1_500_000))
    server.usual = status(503)
    with INPUTS.open_stream(f"{server.address}/a") as stream, pytest.raises(UserError, match="in 5 tries"):
        list(ArchiveIterator(stream))


def test_operations_that_http_does_not_have_are_refused(url: str) -> None:
    with pytest.raises(UserError, match=r"\*\.parquet: .*HTTP"):
        INPUTS.matches(f"{url}/*.parquet")
    with pytest.raises(UserError, match="HTTP"):
        storage.write_bytes(url, b"")
    for read in (storage.read_bytes, storage.open_read, storage.size, storage.exists, storage.matches):
        with pytest.raises(UserError, match="HTTP"):  # nothing is requested without settings
            read(url)
    assert INPUTS.matches(f"{url}?x=1") == []
    assert INPUTS.matches(url) == [url]


@given(
    st.lists(st.tuples(st.sampled_from(["read", "seek", "end"]), st.integers(0, 3000)), max_size=12),
    st.lists(st.one_of(st.integers(0, 1500).map(cut), st.just(status(503)), st.just(without_range)), max_size=4),
)
def test_any_reading_and_seeking_gives_the_file_s_bytes(steps: list[tuple[str, int]], ways: list[Way]) -> None:
    small = FILE[:2000]
    settings = HttpSettings(requests_per_second=10**6, first_wait=0.0001, longest_wait=0.0001)
    with serving({"/a": small}) as server:
        server.ways.extend(ways)
        stream = HttpStream(HttpClient(settings), f"{server.address}/a")
        truth = io.BytesIO(small)
        with io.BufferedReader(stream, 100) as reader:
            for step, number in steps:
                if step == "read":
                    assert reader.read(number) == truth.read(number)
                else:
                    place = (number, io.SEEK_SET) if step == "seek" else (-min(number, 2000), io.SEEK_END)
                    assert reader.seek(*place) == truth.seek(*place)
