"""Runs of `mmc4 takedown`: dry, again, stopped, killed, refused; and builds that are resumed after one."""

import json
import os
import re
import shutil
import signal
import time
import urllib.request
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.miniweb.serve import serving
from tests.end_to_end.running import Web, contents, mmc4, refusal, start, succeeded
from tests.end_to_end.takedown.outputs import Removals, rows, takedown

PATIENCE = 240  # seconds until a run is given up


def test_a_second_run_changes_nothing(after: Path, removals: Removals) -> None:
    old = contents(after, "**/*")
    (line,) = takedown(after, removals.path)
    assert str(removals.path) in line
    assert contents(after, "**/*") == old


def test_a_dry_run_prints_the_same_numbers_and_writes_nothing(
    before: Path, after: Path, removals: Removals, tmp_path: Path
) -> None:
    old = contents(before, "**/*")
    foretold = takedown(before, removals.path, "--dry_run")
    assert contents(before, "**/*") == old
    output = shutil.copytree(before, tmp_path / "out")
    *lines, last = takedown(output, removals.path, "--workers", "2")
    assert len(lines) == 7  # locations, pages, images, scores and three datasets
    assert [numbers(line) for line in lines] == [numbers(line) for line in foretold]
    assert all(len(numbers(line)) == 5 for line in lines)  # documents, images and links; files of all files
    assert "filters.deny_list.list=" in last
    assert contents(output, "**/*") == contents(after, "**/*")


def test_a_list_without_a_hit(before: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("nowhere.example\nhttps://nowhere.example/\n# nothing\n")
    old = contents(before, "**/*")
    (line,) = takedown(before, tmp_path / "list.txt")
    assert str(tmp_path / "list.txt") in line
    assert contents(before, "**/*") == old


def test_a_resumed_build_requests_nothing(web: Web, built: Path, removals: Removals, tmp_path: Path) -> None:
    output = shutil.copytree(built, tmp_path / "out")
    takedown(output, removals.path)
    old = contents(output, "**/*")
    with serving(web.folder) as address:
        # The address is another one; routes are part of the plan.
        plan = output / "images/plan.json"
        plan.write_text(plan.read_text().replace(web.address, address))
        succeeded(mmc4("build", *web.build_arguments(output, image_routes=f"{address}/{{url}}"), "--resume"))
        with urllib.request.urlopen(f"{address}/__stats") as answer:
            assert not json.load(answer)["per_url"]
    new = contents(output, "**/*")
    assert {name for name in new if new[name] != old.get(name)} <= {"images/plan.json"}
    assert new.keys() == old.keys()


def numbers(line: str) -> list[str]:
    return re.findall(r"(?<!\S)\d[\d,]*(?!\S)", line)


class StoppedError(Exception):
    """Raised in place of the end of the process."""


def test_a_run_stopped_at_any_file_ends_with_the_same_bytes(
    alone: Path, removals: Removals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shutil.copytree(alone, tmp_path / "whole" / "all")  # the report has the folder's name
    takedown(whole, removals.path)
    expected = contents(whole, "**/*")
    replace, remaining = storage.rename, 0

    def stop(path: str, with_name: str) -> None:
        nonlocal remaining
        remaining -= 1
        if remaining < 0:
            raise StoppedError
        replace(path, with_name)

    monkeypatch.setattr(storage, "rename", stop)
    monkeypatch.setattr(storage.writing, "rename", stop)  # what writing atomically calls
    folder, stops = shutil.copytree(alone, tmp_path / "stopped" / "all"), 0
    while True:
        remaining = 2 * stops  # each run is stopped a bit later than the one before
        try:
            takedown(folder, removals.path)
            break
        except StoppedError:
            stops += 1
            assert stops < 200
    assert stops > 10
    assert contents(folder, "**/*") == expected


def test_a_killed_run_ends_with_the_same_bytes(before: Path, after: Path, removals: Removals, tmp_path: Path) -> None:
    output = shutil.copytree(before, tmp_path / "out")
    with start("takedown", str(output), "--list", str(removals.path)) as process:
        deadline = time.monotonic() + PATIENCE
        while not list(output.glob("takedown/new/images/images-*.tar")):
            assert process.poll() is None
            assert time.monotonic() < deadline
        os.killpg(process.pid, signal.SIGKILL)
    assert (output / "takedown").exists()
    takedown(output, removals.path)
    assert contents(output, "**/*") == contents(after, "**/*")


def test_a_ledger_of_an_earlier_version_is_refused_before_anything_is_written(
    alone: Path, removals: Removals, tmp_path: Path
) -> None:
    folder = shutil.copytree(alone, tmp_path / "all")
    ledger = max(folder.glob("ledger/*.parquet"))
    pq.write_table(pq.read_table(ledger).drop_columns(["ad", "sentences"]), ledger)
    before = contents(folder, "**/*")
    said = refusal(mmc4("takedown", str(folder), "--list", str(removals.path)))
    assert f"{ledger}: " in said
    assert "ad, sentences" in said
    assert contents(folder, "**/*") == before


def test_folders_and_lists_that_cannot_be_used_are_refused(
    before: Path, alone: Path, removals: Removals, tmp_path: Path
) -> None:
    def refused(folder: Path, removals: Path = removals.path) -> str:
        return refusal(mmc4("takedown", str(folder), "--list", str(removals)))

    assert re.search(rf"{before / 'dataset/all'}: .* {before}$", refused(before / "dataset/all"))
    assert f"{tmp_path}: " in refused(tmp_path)
    (tmp_path / "list.txt").write_text("fine.example\nno entry at all\n")
    assert "list.txt:2: 'no entry at all'" in refused(alone, tmp_path / "list.txt")
    folder = shutil.copytree(alone, tmp_path / "all")
    shard = next(row["shard"] for row in rows(folder) if row["reason"] is None and removals.link(row))
    data = bytearray((folder / shard).read_bytes())
    data[2000] ^= 1
    (folder / shard).write_bytes(data)
    assert re.search(rf"{shard}: .*sha256", refused(folder))
    (folder / "manifest.json").unlink()
    assert re.search(rf"{folder}: .*--resume", refused(folder))
