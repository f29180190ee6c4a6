"""`mmc4 status`: how far a run is, according to what it has written."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.end_to_end.running import mmc4, refusal, succeeded


def rows(text: str) -> dict[str, list[str]]:
    """Return the columns of each stage's first line, by folder."""
    lines = (re.split(r"\s*│\s*", line.rstrip()) for line in text.splitlines() if "│" in line)
    return {folder: columns for folder, *columns in lines if folder.strip()}


def status(output: Path) -> str:
    return succeeded(mmc4("status", str(output))).stdout


@pytest.fixture
def half(built: Path, tmp_path: Path) -> Path:
    """Return a run that was stopped in the images stage after its first shard, two and a quarter hours ago."""
    output = tmp_path / "half [1]"
    for name in ("locations", "pages", "images"):
        shutil.copytree(built / name, output / name)
    (output / "images/manifest.json").unlink()
    for note in (output / "images/done").glob("*[1-9].json"):
        note.unlink()
    for note in (output / "images").glob("*/*.json"):
        moment = note.stat().st_mtime - 2.25 * 3600
        os.utime(note, (moment, moment))
    return output


def test_a_finished_run_has_the_counts_of_its_manifests(built: Path) -> None:
    out = status(built)
    table = rows(out)
    assert list(table) == ["locations", "pages", "images", "scores/clip_clip", "dataset/miniweb"]
    for folder, (shards, documents, links, *_) in table.items():
        manifest = json.loads((built / folder / "manifest.json").read_text())
        assert shards == str(manifest["shards"])
        for shown, what in ((documents, "documents"), (links, "links")):
            counts = manifest["counts"].get(what)
            assert shown == (f"{counts['in']:,} → {counts['kept']:,}" if counts else "")
    assert "--resume" not in out
    assert "`mmc4 " not in out


def test_a_stopped_stage_has_the_counts_of_its_finished_shards(half: Path) -> None:
    out = status(half)
    counts = json.loads((half / "images/done/00000.json").read_text())["counts"]["links"]
    total = json.loads((half / "images/plan.json").read_text())["shards"]
    assert total > 1
    shards, documents, links, dropped = rows(out)["images"]
    assert (shards, documents, links) == (f"1 of {total}", "", f"{counts['in']:,} → {counts['kept']:,}")
    assert "links: " in dropped
    remark = rf"images .*: 1 of {total} shards .*, {total} fetched; .* 2 hours .*--resume"
    assert re.search(remark, " ".join(out.split()))


def test_a_stage_that_has_just_begun_has_none(half: Path) -> None:
    for path in (half / "images").iterdir():
        if path.name != "plan.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    out = status(half)
    shards, *others = rows(out)["images"]
    assert shards.startswith("0 of ")
    assert not any(others)
    assert re.search(rf"images .*: {shards} shards .*--resume", " ".join(out.split()))


def test_after_a_finished_stage_the_next_one_is_named(half: Path) -> None:
    shutil.rmtree(half / "images")
    assert "`mmc4 images`" in status(half)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(mmc4("status", str(tmp_path)))
