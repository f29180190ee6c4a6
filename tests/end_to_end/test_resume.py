"""A run that is killed and resumed writes the same bytes as one that is not; a changed run is refused."""

import re
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.end_to_end.forks import started
from tests.end_to_end.running import Web, contents, mmc4, refusal, succeeded

STAGES = ["locations", "pages", "images", "scores/clip_clip", "dataset/miniweb"]
LARGEST_FILE = 300_000  # bytes: less than a tar of images, more than a file of the stages before
PATIENCE = 240  # seconds within which a run must reach a stage


def kill_within(stage: Path, arguments: list[str], log: Path) -> None:
    """Start a build and kill it (by SIGKILL) once the stage has begun and before it has ended."""
    process = started(["build", *arguments], log)
    deadline = time.monotonic() + PATIENCE
    while not (stage / "plan.json").exists():
        assert process.is_alive(), f"the run ended before {stage} began: {log.read_text()}"
        assert time.monotonic() < deadline, f"the run did not reach {stage}: {log.read_text()}"
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (stage / "manifest.json").exists(), "killed too late to prove anything"


@pytest.mark.parametrize("stage", STAGES)
def test_killed_in_a_stage_and_resumed(web: Web, built: Path, tmp_path: Path, stage: str) -> None:
    output = tmp_path / "out"
    finished = STAGES[: STAGES.index(stage)]
    for folder in finished:
        shutil.copytree(built / folder, output / folder)
    arguments = web.build_arguments(output)
    kill_within(output / stage, [*arguments, *(["--resume"] if finished else [])], tmp_path / "log")
    succeeded(mmc4("build", *arguments, "--resume"))
    assert contents(output, "**/*.tar") == contents(built, "**/*.tar")
    assert contents(output, "**/*.parquet") == contents(built, "**/*.parquet")
    assert not list(output.glob("**/*.tmp-*"))


def test_a_full_disk_ends_in_one_line_and_the_run_is_resumed(web: Web, built: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = web.build_arguments(output)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, hard))  # a write beyond it fails as on a full disk
    try:
        message = refusal(mmc4("build", *arguments))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert re.search(r"^mmc4: (/\S+): no room .* [\d.,]+ MB.*--resume$", message)
    assert not list(output.glob("**/*.tmp-*"))
    succeeded(mmc4("build", *arguments, "--resume"))
    assert contents(output, "**/*.tar") == contents(built, "**/*.tar")
    assert contents(output, "**/*.parquet") == contents(built, "**/*.parquet")


def test_finished_shards_are_not_repeated(web: Web, built: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = web.build_arguments(output)
    shutil.copytree(built, output)
    redo = output / "scores/clip_clip"
    for name in ("manifest.json", "done/00001.json"):
        (redo / name).unlink()
    times = {path.name: path.stat().st_mtime_ns for path in redo.glob("*-of-*.parquet")}
    succeeded(mmc4("build", *arguments, "--resume"))
    again = {path.name for path in redo.glob("*-of-*.parquet") if path.stat().st_mtime_ns != times[path.name]}
    assert again == {name for name in times if "-00001-of-" in name}


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("set", "filters.resolution.min_side=200", r"recipe\.filters\.resolution\.min_side\b.*\b150\b.*\b200\b"),
        ("page_source", "wat", r"options\.page_source\b.*\bwarc\b.*\bwat\b"),
        ("documents_per_shard", "7", r"documents_per_shard\b.*\b30\b.*\b7\b"),
        ("set", "filters.similarity.min=0.3", r"recipe\.filters\.similarity\.min\b"),
    ],
)
def test_a_changed_run_is_refused_and_the_change_named(
    web: Web, built: Path, option: str, value: str, named: str
) -> None:
    arguments = web.build_arguments(built, **{option: value})
    assert re.search(named, refusal(mmc4("build", *arguments, "--resume")))


def test_a_changed_input_is_refused(web: Web, built: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(built, output)
    shard = next((web.folder / "c4").glob("*.json.gz"))
    (tmp_path / "c4").mkdir()
    (tmp_path / "c4" / shard.name).write_bytes(shard.read_bytes())
    arguments = web.build_arguments(output, c4=str(tmp_path / "c4/*.json.gz"))
    assert "input.c4" in refusal(mmc4("build", *arguments, "--resume"))


def test_a_folder_in_use_is_not_overwritten(web: Web, built: Path) -> None:
    assert "--resume" in refusal(mmc4("build", *web.build_arguments(built)))
