"""The engines that a job can run on: chooses the runner, checks the engine before a job, cancels a job on it.

A missing engine is noticed here within seconds. Beam itself would retry for minutes without naming the address.
"""

import json
import os
import re
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
    DebugOptions,
    DirectOptions,
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.flink_runner import MAGIC_HOST_NAMES, FlinkRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.portability.job_server import JobServer
from apache_beam.runners.runner import PipelineResult, PipelineRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment
from apache_beam.version import __version__ as beam_version

from beam_jobs.worker_log import show_worker_log
from mmc4_pipeline.errors import UserError

LOCAL_RUNNER = "FnApiRunner"  # pinned: DirectRunner would first try to download another runner
DATAFLOW_RUNNER = "DataflowRunner"
_ONE_PROCESS = "no_use_multiple_sdk_containers"  # an experiment of Dataflow
_VIRTUAL_CPUS = re.compile(r"-(\d+)(?:-\d+)?(?:-ext|-lssd)?$")
_TIMEOUT = 10.0  # seconds in which an engine must respond
_ENDED = ("CANCELED", "FAILED", "FINISHED", "SUSPENDED")  # states of a Flink job
_job_servers: dict[tuple[str | None, ...], JobServer] = {}  # started by this process, and they end with it


def _named(options: PipelineOptions, name: str) -> bool:
    """Return whether --runner names this runner, in any spelling that Beam accepts: FlinkRunner, flinkrunner, flink."""
    given = str(options.view_as(StandardOptions).runner).lower()
    return given.removesuffix("runner") == name.lower().removesuffix("runner")


class _FlinkRunner(FlinkRunner):
    """Starts one job server for all stages of a build: it is a Java program that takes about 700 MB of memory."""

    def default_job_server(self, options: PipelineOptions) -> JobServer:
        server: JobServer = super().default_job_server(options)
        flink = options.view_as(FlinkRunnerOptions)
        if flink.flink_submit_uber_jar:
            return server
        return _job_servers.setdefault((flink.flink_master, flink.flink_job_server_jar, flink.flink_version), server)


def runner(options: PipelineOptions) -> PipelineRunner | None:
    """Return the local runner, with one worker process or several, or Flink's. None means that Beam finds the runner.

    With Beam's own way to use several processes (--direct_running_mode multi_processing), each of them writes to the
    terminal. Here their stderr goes to a file, and this process shows what our modules log in them. In both cases, this
    process raises their errors.
    """
    direct = options.view_as(DirectOptions)
    if _named(options, "FlinkRunner"):
        return _FlinkRunner()
    if not _named(options, LOCAL_RUNNER):
        return None
    if direct.direct_num_workers == 1 or direct.direct_running_mode != "in_memory":
        return FnApiRunner()
    show_worker_log()
    log = Path(tempfile.gettempdir()) / f"mmc4-workers-{os.getpid()}.log"
    command = shlex.join([sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main"])
    redirected = f"{command} 2>> {shlex.quote(str(log))}"
    return FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(redirected))


def runs_here(options: PipelineOptions) -> bool:
    """Return whether all workers run in this process or start in its working directory."""
    if _named(options, LOCAL_RUNNER) or _named(options, "PrismRunner"):
        return True
    return _named(options, "FlinkRunner") and options.view_as(FlinkRunnerOptions).flink_master in MAGIC_HOST_NAMES


def on_dataflow(options: PipelineOptions) -> bool:
    """Return whether the job runs on Dataflow."""
    return _named(options, DATAFLOW_RUNNER)


def worker_processes(options: PipelineOptions) -> int:
    """Return how many worker processes a job may have at a time, as far as its options say; at least 1."""
    if _named(options, LOCAL_RUNNER):
        direct = options.view_as(DirectOptions)
        several = direct.direct_running_mode != "multi_threading"
        return int(direct.direct_num_workers or os.cpu_count() or 1) if several else 1
    workers = options.view_as(WorkerOptions)
    named = max(workers.max_num_workers or 0, workers.num_workers or 0)
    machines = max(1, int(named or options.view_as(FlinkRunnerOptions).parallelism))
    return machines * processes_per_machine(options)


def processes_per_machine(options: PipelineOptions) -> int:
    """Return how many worker processes each machine or task slot has, as far as the options say; at least 1.

    Dataflow starts one for each vCPU, whose number is in the name of the machine type: n1-standard-4, custom-4-16384.
    """
    if not on_dataflow(options):
        return max(1, int(options.view_as(PortableOptions).sdk_worker_parallelism))
    if _ONE_PROCESS in (options.view_as(DebugOptions).experiments or ()):
        return 1
    virtual_cpus = _VIRTUAL_CPUS.search(options.view_as(WorkerOptions).machine_type or "")
    return max(1, int(virtual_cpus[1])) if virtual_cpus else 1


def check_engine(options: PipelineOptions) -> None:
    """Raise UserError if the engine does not respond, or if an option belongs to another engine."""
    _refuse_options_of_another(options)
    endpoint, flink = options.view_as(PortableOptions).job_endpoint, options.view_as(FlinkRunnerOptions)
    if endpoint and endpoint != "embed":
        _require_job_server(endpoint)
    elif _named(options, "FlinkRunner") and flink.flink_master not in MAGIC_HOST_NAMES:
        _require_flink(flink)


def _refuse_options_of_another(options: PipelineOptions) -> None:
    local = _named(options, LOCAL_RUNNER)
    endpoint = options.view_as(PortableOptions).job_endpoint
    master, prism = options.view_as(FlinkRunnerOptions).flink_master, options.view_as(PrismRunnerOptions).prism_location
    if local and endpoint:
        raise UserError(f"--job_endpoint {endpoint}: the local runner has no job server; add --runner PortableRunner")
    if local and master != FlinkRunnerOptions().flink_master:
        raise UserError(f"--flink_master {master}: the local runner has no master; add --runner FlinkRunner")
    if local and prism:
        raise UserError(f"--prism_location {prism}: the local runner does not use Prism; add --runner PrismRunner")
    if _named(options, "PortableRunner") and not endpoint:
        raise UserError("--runner PortableRunner: requires --job_endpoint with the job server's host and port")
    if prism and "://" not in prism and not Path(prism).is_file():
        raise UserError(
            f"--prism_location {prism}: no such file; leave the option out and Beam downloads Prism, or build it with: "
            f"GOBIN=$PWD go install github.com/apache/beam/sdks/v2/go/cmd/prism@v{beam_version}"
        )


def _require_job_server(endpoint: str) -> None:
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_TIMEOUT).close()
        with grpc.insecure_channel(endpoint) as channel:
            grpc.channel_ready_future(channel).result(timeout=_TIMEOUT)
    except (OSError, ValueError, grpc.FutureTimeoutError) as error:
        why = str(error) or f"the port is open, but nothing spoke gRPC for {_TIMEOUT:.0f} seconds"
        raise UserError(
            f"--job_endpoint {endpoint}: no job server responded ({why}); start one there, or check host and port "
            "(8099 by default)"
        ) from error


def _require_flink(options: FlinkRunnerOptions) -> None:
    """Request the job manager's version from its REST port, as Beam will."""
    url = f"{FlinkRunner.add_http_scheme(options.flink_master)}/config"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            version = str(json.load(response)["flink-version"])
    except (OSError, ValueError, KeyError) as error:
        why = getattr(error, "reason", None) or f"{type(error).__name__}: {error}"
        raise UserError(
            f"--flink_master {options.flink_master}: no Flink job manager responded at {url} ({why}); "
            "check that it is running and that this is its REST port (8081 by default)"
        ) from error
    if options.flink_job_server_jar is None and not f"{version}.".startswith(f"{options.flink_version}."):
        fits = version.rpartition(".")[0]
        raise UserError(f"--flink_master {options.flink_master}: runs Flink {version}; add --flink_version {fits}")


@contextmanager
def cancelling(result: PipelineResult, options: PipelineOptions) -> Iterator[None]:
    """Cancel the job if the body is stopped by Ctrl-C or SIGTERM: a remote engine would continue without us.

    Raises UserError if the job could not be cancelled, or if it failed outside our own code.
    """

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    # Replaces the handler that Beam has set: that one would end the job server, which is needed to cancel the job.
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
        state = why.splitlines()[0]
        raise UserError(f"the job ended in state {state}; see the engine's log, then continue with --resume") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cancel(result: PipelineResult, options: PipelineOptions) -> None:
    """Cancel a job. Raises UserError if it may still be running.

    When Beam's job server is told to cancel a job on a Flink cluster, it only stops watching it. Flink itself has to be
    told too, and Beam keeps the job's name in a private attribute only.
    """
    flink, endpoint = options.view_as(FlinkRunnerOptions), options.view_as(PortableOptions).job_endpoint
    here = flink.flink_master in MAGIC_HOST_NAMES
    check = "check on the engine's own page that the job has ended before you --resume"
    try:
        if not here:
            _cancel_on_flink(FlinkRunner.add_http_scheme(flink.flink_master), str(vars(result)["_job_id"]))
        result.cancel()
    except (grpc.RpcError, OSError, ValueError, KeyError, NotImplementedError) as error:
        why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise UserError(f"stopped, but the job could not be cancelled ({why}); {check}") from error
    if here and endpoint:
        raise UserError(f"stopped, but the server at {endpoint} may leave the job running on a cluster; {check}")


def _cancel_on_flink(address: str, job: str) -> None:
    """Cancel a job by Flink's REST API and wait until its tasks have ended. Beam's job ID is Flink's NAME_UUID."""
    name, deadline = job.rpartition("_")[0], time.monotonic() + 3 * _TIMEOUT
    requested = False
    while True:
        with urllib.request.urlopen(f"{address}/jobs/overview", timeout=_TIMEOUT) as response:
            jobs = json.load(response)["jobs"]
        running = [found["jid"] for found in jobs if found["name"] == name and found["state"] not in _ENDED]
        if not running:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"Flink has not ended it within {3 * _TIMEOUT:.0f} seconds")
        for jid in () if requested else running:
            request = urllib.request.Request(f"{address}/jobs/{jid}?mode=cancel", method="PATCH")
            urllib.request.urlopen(request, timeout=_TIMEOUT).close()
        requested = True
        time.sleep(0.2)
