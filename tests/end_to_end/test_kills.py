"""A build that is killed again and again, at random moments, and resumed each time writes the same bytes."""

import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mmc4_pipeline import cli
from mmc4_pipeline.images import answers
from schemas.reasons import Stage
from tests.end_to_end.running import TWO_SCORERS, Web, data_of, mmc4, succeeded

PATIENCE = 240  # seconds within which a run must write something
MOST = 12  # changes of the output folder after which a run is killed
MANY_SHARDS = {"documents_per_shard": "6", "fetch_timeout": "30", "delay_per_host": "0.02"}
LITTLE_TIME = ("--shard_seconds", "1.5")  # so that some runs have a backlog
long = pytest.mark.skipif("MMC4_LONG_TESTS" not in os.environ, reason="takes minutes; MMC4_LONG_TESTS=1 runs it")

# Runs are forks of a process that has imported what takes long to import.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["beam_jobs.build", "cv2", "open_clip", "scipy.optimize", __name__])


def build(arguments: list[str], log: Path) -> None:
    """Run `mmc4 build` in a process of its own, whose output goes to a file."""
    answers.SAVE_SECONDS = 0.02  # with the usual two minutes, no part would be written while the test runs
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["mmc4", "build", *arguments]
    cli.main()


def killed_in(arguments: list[str], log: Path, output: Path, target: Stage, changes: int) -> Stage | None:
    """Run a build and kill it (by SIGKILL) once it is in a stage and has then changed the output folder some times.

    Returns the stage that it was in; None if it finished before.
    """
    log.write_text("")
    process = FORKS.Process(target=build, args=(arguments, log))
    process.start()
    deadline, seen = time.monotonic() + PATIENCE, set[str]()
    while process.is_alive() and changes >= 0:
        assert time.monotonic() < deadline, log.read_text()
        if any(list(Stage).index(stage) >= list(Stage).index(target) for stage in begun(log)):
            now = {str(path) for path in output.rglob("*")}
            changes -= now != seen
            seen = now
        time.sleep(0.001)
    if process.is_alive():
        process.kill()
    process.join()
    if process.exitcode == 0:
        return None
    assert process.exitcode == -signal.SIGKILL, log.read_text()
    return begun(log)[-1]


def begun(log: Path) -> list[Stage]:
    """Return the stages that a run has begun; those that had been finished before are not among them."""
    lines = log.read_text().splitlines()
    return [stage for line in lines for stage in Stage if line.startswith(f"{stage}: ") and " into " in line]


@pytest.mark.parametrize(
    ("kills", "stages"), [(3, [Stage.IMAGES]), pytest.param(100, list(Stage), marks=long, id="100 in all stages")]
)
def test_killed_at_random_moments_again_and_again(web: Web, tmp_path: Path, kills: int, stages: list[Stage]) -> None:
    draw, killed, parts, builds = random.Random(kills), Counter[Stage](), 0, 0
    expected, output = tmp_path / "expected", tmp_path / "out"
    succeeded(mmc4("build", *web.build_arguments(expected, **MANY_SHARDS), *TWO_SCORERS))
    arguments = [*web.build_arguments(output, **MANY_SHARDS), *LITTLE_TIME, *TWO_SCORERS]
    while killed.total() < kills:
        target, changes = draw.choice(stages), draw.randint(1, MOST)
        resume = ["--resume"] * output.exists()
        stage = killed_in([*arguments, *resume], tmp_path / "log", output, target, changes)
        if stage is None:
            assert data_of(output) == data_of(expected)
            shutil.rmtree(output)
            builds += 1
        else:
            killed[stage] += 1
            parts += any(output.glob("images/partial/*/part-*"))
    print(f"killed {dict(killed)}, {parts} times with parts; {builds} builds finished meanwhile")  # noqa: T201
    assert kills < 100 or (set(killed) == set(Stage) and parts > 0)
    if output.exists():
        succeeded(mmc4("build", *arguments, "--resume"))
        assert data_of(output) == data_of(expected)
        assert not list(output.glob("**/*.tmp-*"))
        assert not (output / "images/partial").exists()
