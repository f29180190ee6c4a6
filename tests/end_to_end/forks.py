"""Runs in processes of their own, which tests kill: forks of one process that has imported what takes seconds."""

import multiprocessing
import os
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


def _run(arguments: list[str], log: Path) -> None:
    partial_shards.SAVE_SECONDS = 0.02  # with the usual two minutes, no part would be written while the test runs
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["mmc4", *arguments]
    cli.main()
