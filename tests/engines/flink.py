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

PATIENCE = 180.0  # seconds for the cluster to come up
# With less than 3 GB and 512 MB of network buffers a task manager has too few of them for a parallelism of 4.
SETTINGS = {
    "jobmanager.memory.process.size": "1600m",
    "taskmanager.memory.process.size": "3g",
    "taskmanager.memory.network.min": "512m",
    "taskmanager.memory.network.max": "512m",
    "taskmanager.numberOfTaskSlots": "2",
    "heartbeat.interval": "2000",  # milliseconds; a task manager that answers nothing is given up after two of them
    # Beam's --number_of_execution_retries is for streams; without these a job ends with the first worker lost.
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "3",
    "restart-strategy.fixed-delay.delay": "1s",
}
# Each worker has a folder of its own: those of one machine would otherwise write over each other's staged files.
WORKER = """#!/bin/sh
export RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 PATH={bin}:"$PATH" PYTHONPATH={source}
cd "$(mktemp -d -p {folder})" && exec {boot} --semi_persist_dir="$PWD" "$@"
"""


@dataclass
class Cluster:
    """A running cluster. `address` is its job manager's, for --flink_master."""

    folder: Path
    address: str
    task_managers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def arguments(self) -> list[str]:
        """Give the arguments with which a job runs on it."""
        return [
            *("--runner", "FlinkRunner", "--flink_master", self.address),
            *("--flink_job_server_jar", str(install.job_server())),
            *("--environment_type", "PROCESS", "--environment_option", f"process_command={self.folder / 'worker'}"),
            "--experiments=disable_logging_submission_environment",  # which takes pip some seconds for each job
        ]

    def ask(self, path: str) -> dict[str, object]:
        """Ask the job manager; raises OSError where it does not answer."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
            return dict(json.load(answer))

    def add_task_manager(self) -> None:
        """Start one more task manager, and wait until the job manager knows all."""
        self.task_managers.append(self._start("taskmanager"))
        self.wait()

    def wait(self) -> None:
        """Wait until the job manager answers and knows as many task managers as there are; raises RuntimeError."""
        deadline = time.monotonic() + PATIENCE
        while not self._complete():
            if time.monotonic() > deadline:
                message = f"the Flink cluster did not come up; its logs are in {self.folder}"
                raise RuntimeError(message)
            time.sleep(0.2)

    def _complete(self) -> bool:
        running = sum(manager.poll() is None for manager in self.task_managers)
        try:
            return self.ask("/overview")["taskmanagers"] == running
        except OSError:
            return False

    def _start(self, service: str) -> subprocess.Popen[bytes]:
        port = self.address.rpartition(":")[2]
        settings = SETTINGS | {
            "rest.port": port,
            "jobmanager.rpc.port": (self.folder / "rpc-port").read_text(),
            "blob.storage.directory": str(self.folder),
            "io.tmp.dirs": str(self.folder),
        }
        script = install.flink() / "bin" / f"{service}.sh"
        words = [word for name, value in settings.items() for word in ("-D", f"{name}={value}")]
        environment = os.environ | {"FLINK_LOG_DIR": str(self.folder), "FLINK_PID_DIR": str(self.folder)}
        with (self.folder / f"{service}-{len(self.task_managers)}.out").open("wb") as log:
            return subprocess.Popen(
                [script, "start-foreground", *words],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


@contextmanager
def cluster(folder: Path, task_managers: int = 2) -> Iterator[Cluster]:
    """Run a cluster with two slots a task manager while the body runs. Logs and temporary files are in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rest, rpc = free_ports(2)
    (folder / "rpc-port").write_text(str(rpc))
    worker = folder / "worker"
    names = {
        "bin": Path(sys.executable).parent,
        "source": Path(__file__).parents[2],
        "boot": install.boot(),
        "folder": folder,
    }
    worker.write_text(WORKER.format_map({name: shlex.quote(str(path)) for name, path in names.items()}))
    worker.chmod(0o755)
    running = Cluster(folder, f"127.0.0.1:{rest}")
    with ExitStack() as stack:
        stack.callback(_stop_all, running.task_managers)
        manager = running._start("jobmanager")  # noqa: SLF001 - of this module
        stack.callback(_stop, manager)
        running.task_managers += [running._start("taskmanager") for _ in range(task_managers)]  # noqa: SLF001
        running.wait()
        yield running


def free_ports(number: int) -> list[int]:
    """Give so many ports of this machine that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _stop_all(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:  # those that are running by then
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and whatever it has started: all of its group."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
