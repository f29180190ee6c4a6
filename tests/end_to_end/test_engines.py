"""Every engine writes byte for byte the same dataset."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.end_to_end import engines
from tests.end_to_end.running import Web, contents, data_of, mmc4, succeeded
from tests.end_to_end.stalled import on_cluster, stalled_build
from tests.engines import flink


def test_images_that_never_respond_are_dropped_as_timeouts(stalled: Web, local: Path) -> None:
    links = json.loads((stalled.folder / "truth.json").read_text())["links"]
    silent = {link["image_url"] for link in links if link["reason"] == "timeout"}
    rows = pq.read_table(local / "dataset/miniweb/ledger").to_pylist()
    assert {row["image_url"] for row in rows if row["reason"] == "timeout"} == silent != set()


@pytest.mark.parametrize("engine", ["processes", pytest.param("prism", marks=pytest.mark.engines("prism"))])
def test_every_engine_writes_the_same_bytes(stalled: Web, local: Path, tmp_path: Path, engine: str) -> None:
    succeeded(mmc4("build", *stalled_build(stalled, tmp_path), *engines.options(engine)))
    assert data_of(tmp_path) == data_of(local)


@pytest.mark.engines("flink")
def test_a_flink_cluster_writes_the_same_bytes(
    stalled: Web, local: Path, cluster: flink.Cluster, tmp_path: Path
) -> None:
    succeeded(mmc4("build", *stalled_build(stalled, tmp_path), *on_cluster(cluster)))
    assert data_of(tmp_path) == data_of(local)


@pytest.mark.engines("flink")
def test_flink_in_its_job_server_writes_the_same_pages(stalled: Web, local: Path, tmp_path: Path) -> None:
    """The stage with the most shuffles stands for all: each stage costs Flink a minute on a small machine."""
    shutil.copytree(local / "locations", tmp_path / "locations")
    succeeded(mmc4(*stalled.stage("pages", tmp_path, documents_per_shard="8"), *engines.options("flink")))
    assert contents(tmp_path, "pages/*.*") == contents(local, "pages/*.*")
