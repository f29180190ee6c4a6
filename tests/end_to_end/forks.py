"""Runs in processes of their own, which tests kill: forks of one process that has imported what takes seconds."""

import multiprocessing
import os
import runpy
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from mmc4_pipeline import cli
from mmc4_pipeline.images import partial_shards

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["beam_jobs.build", "cv2", "open_clip", "scipy.optimize", __name__])


def started(arguments: list[str], log: Path) -> BaseProcess:
    """Start `mmc4` in a process whose output goes to a file."""
    log.write_text("")
    process = FORKS.Process(target=_run, args=(arguments, log))
    process.start()
    return process


def run_program(program: Path, flags: list[str], log: Path) -> str:
    """Run a Python program to its end, and return its output. Fail if it ends with an error."""
    process = FORKS.Process(target=_run_program, args=(program, flags, log))
    process.start()
    process.join()
    output = log.read_text()
    assert process.exitcode == 0, output
    return output


def _run(arguments: list[str], log: Path) -> None:
    partial_shards.SAVE_SECONDS = 0.02  # with the usual two minutes, no part would be written while the test runs
    _write_to(log)
    sys.argv = ["mmc4", *arguments]
    cli.main()


def _run_program(program: Path, flags: list[str], log: Path) -> None:
    _write_to(log)
    sys.path.insert(0, str(program.parent))
    sys.argv = [str(program), *flags]
    runpy.run_path(str(program), run_name="__main__")
    sys.stdout.flush()


def _write_to(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
