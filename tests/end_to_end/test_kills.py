"""A build or export that is killed again and again, at random moments, and resumed each time writes the same bytes."""

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from schemas.reasons import Stage
from tests.end_to_end.forks import started
from tests.end_to_end.running import TWO_SCORERS, Web, contents, data_of, mmc4, succeeded
from tests.mmc4_pipeline.planted_dataset import write_dataset

PATIENCE = 240  # seconds within which a run must write something
MOST = 12  # changes of the output folder after which a run is killed
MANY_SHARDS = {"documents_per_shard": "6", "fetch_timeout": "30", "delay_per_host": "0.02"}
LITTLE_TIME = ("--shard_seconds", "1.5")  # so that some runs have a backlog
long = pytest.mark.skipif("MMC4_LONG_TESTS" not in os.environ, reason="takes minutes; MMC4_LONG_TESTS=1 runs it")

EXPORTED = ["parquet", "mds", "chat_jsonl", "webdataset"]


def killed_after(
    changes: int, arguments: list[str], log: Path, folder: Path, begun: Callable[[], bool] = lambda: True
) -> bool:
    """Run `mmc4` and kill it (by SIGKILL) once it has begun and has then changed a folder some times.

    Returns whether it was killed; if not, it finished before.
    """
    process = started(arguments, log)
    deadline, seen = time.monotonic() + PATIENCE, set[tuple[str, ...]]()
    while process.is_alive() and changes >= 0:
        assert time.monotonic() < deadline, log.read_text()
        if begun():
            now = {(at, *inner, *files) for at, inner, files in os.walk(folder)}  # unlike rglob, bears what vanishes
            changes -= now != seen
            seen = now
        time.sleep(0.001)
    if process.is_alive():
        process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), log.read_text()
    return process.exitcode != 0


def begun(log: Path) -> list[Stage]:
    """Return the stages that a run has begun; those that had been finished before are not among them."""
    lines = log.read_text().splitlines()
    return [stage for line in lines for stage in Stage if line.startswith(f"{stage}: ") and " into " in line]


def has_begun(stage: Stage, log: Path) -> bool:
    """Return whether a run has begun a stage or a later one."""
    return any(list(Stage).index(found) >= list(Stage).index(stage) for found in begun(log))


@pytest.mark.parametrize(
    ("kills", "stages"), [(3, [Stage.IMAGES]), pytest.param(100, list(Stage), marks=long, id="100 in all stages")]
)
def test_killed_at_random_moments_again_and_again(web: Web, tmp_path: Path, kills: int, stages: list[Stage]) -> None:
    draw, killed, parts, builds = random.Random(kills), Counter[Stage](), 0, 0
    expected, output = tmp_path / "expected", tmp_path / "out"
    succeeded(mmc4("build", *web.build_arguments(expected, **MANY_SHARDS), *TWO_SCORERS))
    arguments = ["build", *web.build_arguments(output, **MANY_SHARDS), *LITTLE_TIME, *TWO_SCORERS]
    while killed.total() < kills:
        target, changes = draw.choice(stages), draw.randint(1, MOST)
        resume, log = ["--resume"] * output.exists(), tmp_path / "log"
        if not killed_after(changes, [*arguments, *resume], log, output, partial(has_begun, target, log)):
            assert data_of(output) == data_of(expected)
            shutil.rmtree(output)
            builds += 1
        else:
            killed[begun(log)[-1]] += 1
            parts += any(output.glob("images/partial/*/part-*"))
    print(f"killed {dict(killed)}, {parts} times with parts; {builds} builds finished meanwhile")  # noqa: T201
    assert kills < 100 or (set(killed) == set(Stage) and parts > 0)
    if output.exists():
        succeeded(mmc4(*arguments, "--resume"))
        assert data_of(output) == data_of(expected)
        assert not list(output.glob("**/*.tmp-*"))
        assert not (output / "images/partial").exists()


@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=long)])
def test_an_export_is_killed_at_random_moments_again_and_again(tmp_path: Path, kills: int) -> None:
    draw, killed, exports = random.Random(kills), 0, 0
    planted, expected, output = tmp_path / "planted", tmp_path / "expected", tmp_path / "out"
    write_dataset(planted, shards=4, documents=12)
    shutil.copytree(planted, expected)
    succeeded(mmc4("export", str(expected), "--formats", *EXPORTED))
    whole = contents(expected, "**/*")
    assert len(whole) > len(contents(planted, "**/*")) + 4 * len(EXPORTED)
    while killed < kills:
        if not output.exists():
            shutil.copytree(planted, output)
        arguments = ["export", str(output), "--formats", *EXPORTED]
        if killed_after(draw.randint(1, 2 * MOST), arguments, tmp_path / "log", output):
            killed += 1
        else:
            assert contents(output, "**/*") == whole
            shutil.rmtree(output)
            exports += 1
    print(f"killed {killed} times; {exports} exports finished meanwhile")  # noqa: T201
    if output.exists():
        succeeded(mmc4("export", str(output), "--formats", *EXPORTED))
        assert contents(output, "**/*") == whole
