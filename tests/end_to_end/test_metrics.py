"""The runner's metrics: the same names on every runner, and the same numbers as in the notes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.running import MINIWEB, mmc4, succeeded

STAGES = ["locations", "pages", "images", "scores/clip_clip", "dataset/miniweb"]


def runs(output: Path, stage: str) -> list[dict[str, Any]]:
    return json.loads((output / "metrics" / f"{stage}.json").read_text())


@pytest.mark.parametrize("stage", STAGES)
def test_the_runner_s_counters_match_the_manifest(built: Path, stage: str) -> None:
    manifest = json.loads((built / stage / "manifest.json").read_text())
    expected = {}
    for what, count in manifest["counts"].items():
        expected |= {f"{what}/in": count["in"], f"{what}/kept": count["kept"]}
        expected |= {f"{what}/dropped/{reason}": number for reason, number in count["dropped"].items()}
    (run,) = runs(built, stage)
    assert run["counters"] == {name: number for name, number in expected.items() if number}
    assert (run["runner"], run["shards"], run["differ"]) == ("FnApiRunner", manifest["shards"], {})
    sizes = run["distributions"]["shard/bytes"]
    assert (sizes["count"], sizes["sum"]) == (manifest["shards"], sum(file["bytes"] for file in manifest["files"]))
    assert 0 < sizes["min"] <= sizes["max"] <= sizes["sum"]
    assert any(name.endswith("/milliseconds") for name in run["distributions"])


def test_a_resumed_run_adds_the_metrics_of_its_own_shards(built: Path, tmp_path: Path) -> None:
    output = shutil.copytree(built, tmp_path / "out")
    dataset = output / "dataset/miniweb"
    redone = json.loads((dataset / "done/00001.json").read_text())["counts"]
    for name in ("manifest.json", "done/00001.json"):
        (dataset / name).unlink()
    succeeded(mmc4("cut", "--output", str(output), "--recipe", str(MINIWEB / "miniweb.yaml"), "--resume"))
    first, second = runs(output, "dataset/miniweb")
    assert first == runs(built, "dataset/miniweb")[0]
    assert (second["shards"], second["differ"]) == (1, {})
    assert second["counters"]["links/kept"] == redone["links"]["kept"] < first["counters"]["links/kept"]


def test_several_processes_count_the_same_as_one(built: Path, tmp_path: Path) -> None:
    output = shutil.copytree(built, tmp_path / "out")
    shutil.rmtree(output / "dataset")
    workers = ("--direct_num_workers", "2", "--direct_running_mode", "multi_processing")
    succeeded(mmc4("cut", "--output", str(output), "--recipe", str(MINIWEB / "miniweb.yaml"), *workers))
    (one, several) = runs(output, "dataset/miniweb")  # the first is from the copied run
    assert several["counters"] == one["counters"]
    assert several["distributions"]["shard/bytes"] == one["distributions"]["shard/bytes"]
    assert several["differ"] == {}
