"""A Flink cluster on this machine: a job manager, and task managers whose Python workers Beam's boot program starts."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.engines import install

PATIENCE = 180.0  # seconds within which the cluster must start
# A parallelism of 4 needs more network buffers than task managers have by default.
SETTINGS = {
    "jobmanager.memory.process.size": "1600m",
    "taskmanager.memory.process.size": "3g",
    "taskmanager.memory.network.min": "512m",
    "taskmanager.memory.network.max": "512m",
    # Beam's libraries are among the cluster's own. If they came with each job only, Flink would load them for each job,
    # and Beam would start Python for each step of it: --environment_cache_millis would have no effect.
    "classloader.resolve-order": "parent-first",
    "heartbeat.interval": "2000",  # milliseconds; a task manager that misses two heartbeats is given up
    # Beam's --number_of_execution_retries is for streams; without these settings, losing one worker ends the job.
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "3",
    "restart-strategy.fixed-delay.delay": "1s",
}
# A program that ends after a minute does not win back what Java's second compiler and parallel collector cost.
SHORT_LIVED = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
# Each worker has a folder of its own, because workers on one machine would overwrite each other's staged files.
WORKER = """#!/bin/sh
export RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 PATH={folder}:"$PATH" PYTHONPATH={source}
cd "$(mktemp -d -p {folder})" && exec {boot} --semi_persist_dir="$PWD" "$@"
"""
# Before it starts a worker, the boot program lists all packages for its log, twice, and looks for Beam. This takes as
# long as the start itself.
PYTHON = """#!/bin/sh
case "$*" in "-m pip freeze"*|"-m pip show"*) exit 0 ;; esac
exec {python} "$@"
"""


@dataclass
class Cluster:
    """A running cluster. `address` is the address of its job manager, for --flink_master."""

    folder: Path
    address: str
    slots: int  # per task manager
    task_managers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def arguments(self) -> list[str]:
        """Return the arguments that run a job on this cluster."""
        return [
            *("--runner", "FlinkRunner", "--flink_master", self.address),
            *("--flink_job_server_jar", str(install.JOB_SERVER.path)),
            *("--environment_type", "PROCESS", "--environment_option", f"process_command={self.folder / 'worker'}"),
            *("--environment_cache_millis", "60000"),
            *(f"--job_server_jvm_properties={option}" for option in SHORT_LIVED),
            "--experiments=disable_logging_submission_environment",  # `pip freeze` for the log takes seconds per job
        ]

    def get(self, path: str) -> dict[str, object]:
        """Return the JSON of a path of the job manager's REST interface. Raises OSError if it does not respond."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as response:
            return dict(json.load(response))

    def add_task_manager(self) -> None:
        """Start one more task manager, and wait until the job manager knows all of them."""
        self.task_managers.append(self._start("taskmanager"))
        self.wait()

    def wait(self) -> None:
        """Wait until the job manager knows every running task manager. Raises RuntimeError after PATIENCE seconds."""
        deadline = time.monotonic() + PATIENCE
        while not self._complete():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the Flink cluster did not start; its logs are in {self.folder}")
            time.sleep(0.2)

    def _complete(self) -> bool:
        running = sum(manager.poll() is None for manager in self.task_managers)
        try:
            return self.get("/overview")["taskmanagers"] == running
        except OSError:
            return False

    def _start(self, service: str) -> subprocess.Popen[bytes]:
        port = self.address.rpartition(":")[2]
        settings = SETTINGS | {
            "taskmanager.numberOfTaskSlots": str(self.slots),
            "rest.port": port,
            "jobmanager.rpc.port": (self.folder / "rpc-port").read_text(),
            "blob.storage.directory": str(self.folder),
            "io.tmp.dirs": str(self.folder),
        }
        script = install.FLINK.path / "bin" / f"{service}.sh"
        words = [word for name, value in settings.items() for word in ("-D", f"{name}={value}")]
        environment = os.environ | {
            "FLINK_LOG_DIR": str(self.folder),
            "FLINK_PID_DIR": str(self.folder),
            "JDK_JAVA_OPTIONS": " ".join(SHORT_LIVED),
            "HADOOP_CLASSPATH": f"{install.JOB_SERVER.path.parent}/lib/*",  # comes after Flink's own libraries
        }
        with (self.folder / f"{service}-{len(self.task_managers)}.out").open("wb") as log:
            return subprocess.Popen(
                [script, "start-foreground", *words],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


@contextmanager
def cluster(folder: Path, task_managers: int = 2, slots: int = 2) -> Iterator[Cluster]:
    """Run a cluster with `slots` per task manager while the body runs; logs and temporary files are in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rest, rpc = free_ports(2)
    (folder / "rpc-port").write_text(str(rpc))
    names = {
        "python": Path(sys.executable),
        "source": Path(__file__).parents[2],
        "boot": install.BOOT.path,
        "folder": folder,
    }
    for script, text in (("worker", WORKER), ("python", PYTHON)):
        (folder / script).write_text(text.format_map({name: shlex.quote(str(path)) for name, path in names.items()}))
        (folder / script).chmod(0o755)
    running = Cluster(folder, f"127.0.0.1:{rest}", slots)
    with ExitStack() as stack:
        stack.callback(_stop_all, running.task_managers)
        manager = running._start("jobmanager")  # noqa: SLF001 - of this module
        stack.callback(_stop, manager)
        running.task_managers += [running._start("taskmanager") for _ in range(task_managers)]  # noqa: SLF001
        running.wait()
        yield running


def free_ports(number: int) -> list[int]:
    """Return that many ports of this machine on which nothing listens."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _stop_all(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:  # the list may have changed since this callback was registered
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and all processes of its group."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
