"""A missing engine is noticed before a job is submitted, and the error names the address that was tried."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from beam_jobs.command_line import OWN_OPTIONS, parse
from beam_jobs.options.common import output_folder
from mmc4_pipeline.errors import UserError


def check(*argv: str) -> None:
    parse(list(argv), "mmc4 build", "", OWN_OPTIONS)


@pytest.fixture
def closed_port() -> Iterator[str]:
    """Yield an address that refuses connections: it is bound, so that no other program can listen there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def responding(body: bytes) -> Iterator[str]:
    """Serve the same body for every GET."""

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


def test_a_missing_flink_master_is_named_with_the_url_that_was_tried(closed_port: str) -> None:
    with pytest.raises(UserError) as refused:
        check("--runner", "FlinkRunner", "--flink_master", closed_port)
    assert str(refused.value).startswith(f"--flink_master {closed_port}: ")
    assert f"http://{closed_port}/config" in str(refused.value)
    assert "Connection refused" in str(refused.value)
    assert "8081" in str(refused.value)


@pytest.mark.parametrize("runner", ["flink", "flinkrunner", "FlinkRunner"])
def test_every_spelling_of_a_runner_is_checked(closed_port: str, runner: str) -> None:
    with pytest.raises(UserError, match=r"--flink_master .*/config "):
        check("--runner", runner, "--flink_master", f"http://{closed_port}")


def test_a_server_that_is_not_flink_is_refused() -> None:
    with responding(b"<html>") as address, pytest.raises(UserError, match=r"--flink_master .*/config "):
        check("--runner", "FlinkRunner", "--flink_master", address)


def test_flink_of_another_version_is_refused_with_the_option_that_fits() -> None:
    flink = json.dumps({"flink-version": "1.19.3"}).encode()
    with responding(flink) as address:
        with pytest.raises(UserError, match=r"1\.19\.3; .*--flink_version 1\.19$"):
            check("--runner", "FlinkRunner", "--flink_master", address)
        check("--runner", "FlinkRunner", "--flink_master", address, "--flink_version", "1.19")
        check("--runner", "FlinkRunner", "--flink_master", address, "--flink_job_server_jar", "of_their_own.jar")


def test_flink_in_the_job_server_itself_needs_no_master() -> None:
    check("--runner", "FlinkRunner", "--flink_master=[local]")
    check("--runner", "FlinkRunner")


def test_a_missing_job_server_is_named(closed_port: str) -> None:
    with pytest.raises(UserError, match=f"--job_endpoint {closed_port}: .*8099"):
        check("--runner", "PortableRunner", "--job_endpoint", closed_port)


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--job_endpoint", "localhost:8099"], "--job_endpoint .*--runner PortableRunner"),
        (["--flink_master", "localhost:8081"], "--flink_master .*--runner FlinkRunner"),
        (["--prism_location", "prism"], "--prism_location .*--runner PrismRunner"),
        (["--runner", "PortableRunner"], "--runner PortableRunner: .*--job_endpoint"),
    ],
)
def test_an_engine_s_option_without_the_engine_is_refused(arguments: list[str], remedy: str) -> None:
    with pytest.raises(UserError, match=remedy):
        check(*arguments)


def test_a_missing_prism_is_refused_with_a_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--prism_location .*/prism: .*go install .*/prism@v[0-9.]+$"):
        check("--runner", "PrismRunner", "--prism_location", str(tmp_path / "prism"))
    (tmp_path / "prism").touch()
    check("--runner", "PrismRunner", "--prism_location", str(tmp_path / "prism"))


def test_the_local_runner_needs_no_engine() -> None:
    check("--direct_num_workers", "2")


def test_remote_workers_need_absolute_paths() -> None:
    def folder(name: str, *engine: str) -> str:
        return output_folder(parse(["--output", name, *engine], "mmc4 build", "", OWN_OPTIONS))

    with responding(json.dumps({"flink-version": "1.19.3"}).encode()) as address:
        cluster = ("--runner", "FlinkRunner", "--flink_version", "1.19", "--flink_master", address)
        with pytest.raises(UserError, match="--output out: "):
            folder("out", *cluster)
        assert folder("/data/out", *cluster) == "/data/out"
        assert folder("s3://data/out", *cluster) == "s3://data/out"
    assert folder("out", "--runner", "FlinkRunner") == folder("out") == "out"
