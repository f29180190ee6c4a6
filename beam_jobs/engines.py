"""The engines that a job may run on: the local runner by default, and what must be right before one is submitted to.

An engine that is not there is found out here, in seconds; Beam itself would try for minutes, without saying where.
"""

import json
import os
import shlex
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import grpc  # type: ignore[import-untyped]
from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    StandardOptions,
)
from apache_beam.runners.portability.flink_runner import MAGIC_HOST_NAMES, FlinkRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.portability.job_server import JobServer
from apache_beam.runners.runner import PipelineResult, PipelineRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from mmc4_pipeline.errors import UserError

LOCAL_RUNNER = "FnApiRunner"  # pinned: DirectRunner would first try to download another one
_PATIENCE = 10.0  # seconds for an engine to answer
_ENDED = ("CANCELED", "FAILED", "FINISHED", "SUSPENDED")
_job_servers: dict[tuple[str | None, ...], JobServer] = {}  # that this process has started; they end with it


def _named(options: PipelineOptions, name: str) -> bool:
    """Tell whether a runner was asked for, in any spelling that Beam knows: FlinkRunner, flinkrunner, flink."""
    given = str(options.view_as(StandardOptions).runner).lower()
    return given.removesuffix("runner") == name.lower().removesuffix("runner")


class _FlinkRunner(FlinkRunner):
    """Starts one job server for all stages of a build: it is a Java program that takes some 700 MB."""

    def default_job_server(self, options: PipelineOptions) -> JobServer:
        server: JobServer = super().default_job_server(options)
        flink = options.view_as(FlinkRunnerOptions)
        if flink.flink_submit_uber_jar:
            return server
        return _job_servers.setdefault((flink.flink_master, flink.flink_job_server_jar, flink.flink_version), server)


def runner(options: PipelineOptions) -> PipelineRunner | None:
    """Give the local runner, in this process or over several, or Flink's; None where Beam is to find another one.

    Beam's own way to several processes (--direct_running_mode multi_processing) lets them write each of their steps
    to the terminal; here that goes to a file. What goes wrong in them is raised in this process all the same.
    """
    direct = options.view_as(DirectOptions)
    if _named(options, "FlinkRunner"):
        return _FlinkRunner()
    if not _named(options, LOCAL_RUNNER):
        return None
    if direct.direct_num_workers == 1 or direct.direct_running_mode != "in_memory":
        return FnApiRunner()
    log = Path(tempfile.gettempdir()) / f"mmc4-workers-{os.getpid()}.log"
    command = shlex.join([sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main"])
    redirected = f"{command} 2>> {shlex.quote(str(log))}"
    return FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(redirected))


def runs_here(options: PipelineOptions) -> bool:
    """Tell whether all workers are this process, or begin in its working folder."""
    if _named(options, LOCAL_RUNNER) or _named(options, "PrismRunner"):
        return True
    return _named(options, "FlinkRunner") and options.view_as(FlinkRunnerOptions).flink_master in MAGIC_HOST_NAMES


def check_engine(options: PipelineOptions) -> None:
    """Raise UserError where the engine that was asked for does not answer, or an option belongs to another one."""
    local = _named(options, LOCAL_RUNNER)
    endpoint = options.view_as(PortableOptions).job_endpoint
    flink, prism = options.view_as(FlinkRunnerOptions), options.view_as(PrismRunnerOptions).prism_location
    message = ""
    if local and endpoint:
        message = f"--job_endpoint {endpoint}: the local runner submits to no job server; add --runner PortableRunner"
    elif local and flink.flink_master != FlinkRunnerOptions().flink_master:
        message = f"--flink_master {flink.flink_master}: the local runner has no master; add --runner FlinkRunner"
    elif local and prism:
        message = f"--prism_location {prism}: the local runner is another one; add --runner PrismRunner"
    elif _named(options, "PortableRunner") and not endpoint:
        message = "--runner PortableRunner: needs --job_endpoint, the job server's host and port"
    elif prism and "://" not in prism and not Path(prism).is_file():
        message = f"--prism_location {prism}: no such file; build one with: python -m tests.engines.install prism"
    if message:
        raise UserError(message)
    if endpoint and endpoint != "embed":
        _require_job_server(endpoint)
    elif _named(options, "FlinkRunner") and flink.flink_master not in MAGIC_HOST_NAMES:
        _require_flink(flink)


def _require_job_server(endpoint: str) -> None:
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
        with grpc.insecure_channel(endpoint) as channel:
            grpc.channel_ready_future(channel).result(timeout=_PATIENCE)
    except (OSError, ValueError, grpc.FutureTimeoutError) as error:
        why = str(error) or f"something that is none listens there, and was silent for {_PATIENCE:.0f} seconds"
        message = (
            f"--job_endpoint {endpoint}: no job server answered ({why}); "
            "start one there, or check host and port (8099 by default)"
        )
        raise UserError(message) from error


def _require_flink(options: FlinkRunnerOptions) -> None:
    """Ask the job manager for its version, as Beam will: over its REST port."""
    url = f"{FlinkRunner.add_http_scheme(options.flink_master)}/config"
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:
            version = str(json.load(answer)["flink-version"])
    except (OSError, ValueError, KeyError) as error:
        why = getattr(error, "reason", None) or f"{type(error).__name__}: {error}"
        message = (
            f"--flink_master {options.flink_master}: no Flink job manager answered at {url} ({why}); "
            "check that it runs, and that this is its REST port (8081 by default)"
        )
        raise UserError(message) from error
    if options.flink_job_server_jar is None and not f"{version}.".startswith(f"{options.flink_version}."):
        fits = version.rpartition(".")[0]
        message = f"--flink_master {options.flink_master}: runs Flink {version}; add --flink_version {fits}"
        raise UserError(message)


@contextmanager
def cancelling(result: PipelineResult, options: PipelineOptions) -> Iterator[None]:
    """Cancel the job where the body is stopped by Ctrl-C or SIGTERM; an engine elsewhere would go on without us.

    Raises UserError for a job that could not be cancelled, or that failed for what no line of ours is to blame.
    """

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    # After Beam has set its own: that one would end the job server, without which nothing can be cancelled any more.
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        yield
    except KeyboardInterrupt:
        _cancel(result, options)
        raise
    except RuntimeError as error:
        _, failed, why = str(error).partition(" failed in state ")
        if not failed or "Traceback (most recent call last)" in why:
            raise
        message = f"the job ended in state {why.splitlines()[0]}; the engine's log says more; continue with --resume"
        raise UserError(message) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cancel(result: PipelineResult, options: PipelineOptions) -> None:
    """Cancel a job; raises UserError where it may go on.

    Told to cancel, Beam's job server only stops looking at what runs on a Flink cluster: Flink itself has to be asked,
    for the job whose name Beam tells nowhere but in a private attribute.
    """
    flink, endpoint = options.view_as(FlinkRunnerOptions), options.view_as(PortableOptions).job_endpoint
    here = flink.flink_master in MAGIC_HOST_NAMES
    message = ""
    try:
        if not here:
            _cancel_on_flink(FlinkRunner.add_http_scheme(flink.flink_master), str(vars(result)["_job_id"]))
        result.cancel()
    except (grpc.RpcError, OSError, ValueError, KeyError, NotImplementedError) as error:
        message = f"the job could not be cancelled ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
    if here and endpoint:
        message = f"a Flink cluster may go on with the job, which the server at {endpoint} was told to cancel"
    if message:
        message = f"stopped, but {message}; see on the engine's own page that it has ended before a --resume"
        raise UserError(message)


def _cancel_on_flink(address: str, job: str) -> None:
    """Cancel a job by Flink's REST interface and wait until its tasks have ended. Beam's job is Flink's name_uuid."""
    name, deadline = job.rpartition("_")[0], time.monotonic() + 3 * _PATIENCE
    asked = False
    while True:
        with urllib.request.urlopen(f"{address}/jobs/overview", timeout=_PATIENCE) as answer:
            jobs = json.load(answer)["jobs"]
        going_on = [found["jid"] for found in jobs if found["name"] == name and found["state"] not in _ENDED]
        if not going_on:
            return
        if time.monotonic() > deadline:
            message = f"Flink has not ended it in {3 * _PATIENCE:.0f} seconds"
            raise TimeoutError(message)
        for jid in () if asked else going_on:
            request = urllib.request.Request(f"{address}/jobs/{jid}?mode=cancel", method="PATCH")
            urllib.request.urlopen(request, timeout=_PATIENCE).close()
        asked = True
        time.sleep(0.2)
