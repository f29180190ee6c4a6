"""An engine that is not there is noticed before anything is submitted, and the one line says what was tried."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from beam_jobs.command_line import OWN_OPTIONS, output_folder, parse
from mmc4_pipeline.errors import UserError


def check(*argv: str) -> None:
    parse(list(argv), "mmc4 build", "", OWN_OPTIONS)


@pytest.fixture
def closed_port() -> Iterator[str]:
    """Give an address that refuses connections: bound, so that nobody else listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """Answer every GET with the same body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_flink_master_that_is_not_there_is_named_with_what_was_tried(closed_port: str) -> None:
    with pytest.raises(UserError) as refused:
        check("--runner", "FlinkRunner", "--flink_master", closed_port)
    assert str(refused.value).startswith(f"--flink_master {closed_port}: no Flink job manager answered")
    assert f"http://{closed_port}/config" in str(refused.value)
    assert "Connection refused" in str(refused.value)
    assert "8081" in str(refused.value)


@pytest.mark.parametrize("runner", ["flink", "flinkrunner", "FlinkRunner"])
def test_every_spelling_of_a_runner_is_checked(closed_port: str, runner: str) -> None:
    with pytest.raises(UserError, match="no Flink job manager answered"):
        check("--runner", runner, "--flink_master", f"http://{closed_port}")


def test_another_server_than_flink_is_not_taken_for_one() -> None:
    with answering(b"<html>") as address, pytest.raises(UserError, match="no Flink job manager answered"):
        check("--runner", "FlinkRunner", "--flink_master", address)


def test_flink_of_another_version_is_refused_with_the_option_that_fits() -> None:
    flink = json.dumps({"flink-version": "1.19.3"}).encode()
    with answering(flink) as address:
        with pytest.raises(UserError, match=r"runs Flink 1\.19\.3; add --flink_version 1\.19$"):
            check("--runner", "FlinkRunner", "--flink_master", address)
        check("--runner", "FlinkRunner", "--flink_master", address, "--flink_version", "1.19")
        check("--runner", "FlinkRunner", "--flink_master", address, "--flink_job_server_jar", "of_their_own.jar")


def test_flink_in_the_job_server_itself_needs_no_master() -> None:
    check("--runner", "FlinkRunner", "--flink_master=[local]")
    check("--runner", "FlinkRunner")


def test_a_job_server_that_is_not_there_is_named(closed_port: str) -> None:
    with pytest.raises(UserError, match=f"--job_endpoint {closed_port}: no job server answered"):
        check("--runner", "PortableRunner", "--job_endpoint", closed_port)


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--job_endpoint", "localhost:8099"], "add --runner PortableRunner"),
        (["--flink_master", "localhost:8081"], "add --runner FlinkRunner"),
        (["--prism_location", "prism"], "add --runner PrismRunner"),
        (["--runner", "PortableRunner"], "needs --job_endpoint"),
    ],
)
def test_an_engine_s_option_without_the_engine_is_not_passed_over(arguments: list[str], remedy: str) -> None:
    with pytest.raises(UserError, match=remedy):
        check(*arguments)


def test_prism_must_be_where_it_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        check("--runner", "PrismRunner", "--prism_location", str(tmp_path / "prism"))
    (tmp_path / "prism").touch()
    check("--runner", "PrismRunner", "--prism_location", str(tmp_path / "prism"))


def test_the_local_runner_needs_no_engine() -> None:
    check("--direct_num_workers", "2")


def test_workers_elsewhere_need_whole_paths() -> None:
    def folder(name: str, *engine: str) -> str:
        return output_folder(parse(["--output", name, *engine], "mmc4 build", "", OWN_OPTIONS))

    with answering(json.dumps({"flink-version": "1.19.3"}).encode()) as address:
        cluster = ("--runner", "FlinkRunner", "--flink_version", "1.19", "--flink_master", address)
        with pytest.raises(UserError, match="--output out: give whole paths"):
            folder("out", *cluster)
        assert folder("/data/out", *cluster) == "/data/out"
        assert folder("s3://data/out", *cluster) == "s3://data/out"
    assert folder("out", "--runner", "FlinkRunner") == folder("out") == "out"
