"""The example plug-in, installed next to an installed mmc4: its filter, scorer and format work like built-in ones."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.end_to_end.running import MINIWEB
from tests.end_to_end.sources import ROOT, copy_sources

EXAMPLE = ROOT / "examples" / "mmc4_plugin_example"
COLOURFUL = 30.0
SHARDS = "interleaved_jsonl/shard-*.jsonl.gz"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build this project and the example, and return the folder that both were installed into."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(EXAMPLE, folder / "example")
    (folder / "project").mkdir()
    copy_sources(folder / "project")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    packages = [str(folder / "project"), str(folder / "example")]
    subprocess.run([*pip, "--target", str(folder / "packages"), *packages], check=True)
    return folder / "packages"


def mmc4(installed: Path, *arguments: str) -> str:
    """Run the installed program, away from this repository, and return what it printed."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, str(installed / "bin" / "mmc4"), *arguments]
    run = subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def rows(folder: Path, pattern: str) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob(pattern)) for row in pq.read_table(path).to_pylist()]


def documents(dataset: Path) -> dict[str, list[str]]:
    """Return the image URLs of each document in the plug-in's format, by the URL of its page."""
    lines = [line for path in sorted(dataset.glob(SHARDS)) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return {
        document["url"]: [part["image"] for part in document["parts"] if "image" in part]
        for document in map(json.loads, lines)
    }


def test_its_filter_scorer_and_format_work_like_the_built_in_ones(built: Path, installed: Path, tmp_path: Path) -> None:
    output = shutil.copytree(built, tmp_path / "out")
    before = [row for row in rows(built, "dataset/miniweb/ledger/*.parquet") if row["shard"]]
    limit = median(row["byte_size"] / row["width"] / row["height"] for row in before)
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        f"extends: {MINIWEB}/miniweb.yaml\nscores: [clip, colourfulness]\nfilters:\n"
        f"  bytes_per_pixel: {{min: {limit}}}\n"
        f"  colourful: {{filter: at_least, column: colourfulness, min: {COLOURFUL}}}\n"
    )
    clip = {path: path.read_bytes() for path in output.glob("scores/clip_clip/*.*")}
    mmc4(installed, "score", "--output", str(output), "--recipe", str(recipe), "--scorer", "colourfulness")
    assert clip == {path: path.read_bytes() for path in output.glob("scores/clip_clip/*.*")}
    formats = ("--formats", "interleaved_jsonl", "webdataset")
    mmc4(installed, "cut", "--output", str(output), "--recipe", str(recipe), *formats)

    dataset = output / "dataset/own"
    ledger = rows(dataset, "ledger/*.parquet")
    dropped = [row for row in ledger if row["filter"] == "bytes_per_pixel"]
    assert {(row["stage"], row["reason"]) for row in dropped} == {("cut", "bytes_per_pixel")}
    expected = {row["image_url"] for row in before if row["byte_size"] / row["width"] / row["height"] < limit}
    assert expected
    assert expected <= {row["image_url"] for row in dropped}
    kept = [row for row in ledger if row["shard"]]
    assert kept
    grey = {row["image_url"]: row["colourfulness"] for row in ledger if row["filter"] == "colourful"}
    assert grey
    assert {row["reason"] for row in ledger if row["filter"] == "colourful"} == {"colourfulness"}
    assert max(grey.values()) < COLOURFUL <= min(row["colourfulness"] for row in kept)
    assert {row["shard"].partition("/")[0] for row in kept} == {"interleaved_jsonl"}
    assert sorted((row["page_url"], row["image_url"]) for row in kept) == sorted(
        (url, image) for url, images in documents(dataset).items() for image in images
    )
    mmc4(installed, "verify", str(dataset))
    mmc4(installed, "report", str(dataset))
    report = (dataset / "report.html").read_text()
    assert "bytes_per_pixel" in report
    assert "Colourfulness of scored images" in report
    mmc4(installed, "card", str(dataset), "--url", "https://example.org/own")
    described = (dataset / "README.md").read_text()
    assert SHARDS in described
    assert "| `colourfulness` |" in described
    fields = {field["name"] for field in json.loads((dataset / "croissant.json").read_text())["recordSet"][0]["field"]}
    assert {"colourfulness", "best_similarity"} < fields

    removed = kept[0]
    (tmp_path / "removals.txt").write_text(removed["image_url"] + "\n")
    mmc4(installed, "takedown", str(output), "--list", str(tmp_path / "removals.txt"))
    remaining = documents(dataset)
    assert removed["image_url"] not in {image for images in remaining.values() for image in images}
    assert sum(map(len, remaining.values())) < len(kept)
    mmc4(installed, "verify", str(dataset))
