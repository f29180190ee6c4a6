"""Every engine writes byte for byte the same dataset, even if workers are killed on the way."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from mmc4_pipeline.miniweb.generate import generate
from mmc4_pipeline.miniweb.serve import serving
from tests.end_to_end import engines
from tests.end_to_end.running import Web, contents, data_of, mmc4, start, succeeded
from tests.engines import flink

PATIENCE = 300  # seconds to wait for an event before the test fails
COPIES = "filters.corpus_copies={max_copies: 10, max_distance: 5}"


@pytest.fixture(scope="module")
def stalled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Serve a miniature web in which some images never respond."""
    folder = tmp_path_factory.mktemp("stalled")
    generate(folder, pages=60, stalled=True)
    with serving(folder) as address:
        yield Web(folder, address)


def arguments(web: Web, output: Path) -> list[str]:
    """Return the arguments of a build with both kinds of corpus filters, in more shards than any engine has workers."""
    return web.build_arguments(output, documents_per_shard="8", set=COPIES)


@pytest.fixture(scope="module")
def local(stalled: Web, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build on the local runner, in one process; return the output folder."""
    output = tmp_path_factory.mktemp("local") / "out"
    succeeded(mmc4("build", *arguments(stalled, output)))
    assert len(list((output / "images").glob("*.tar"))) > 4
    return output


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[flink.Cluster]:
    """Run a Flink cluster of a job manager and two task managers, both of which a job with two workers needs."""
    with flink.cluster(tmp_path_factory.mktemp("flink"), slots=1) as running:
        yield running


def on_cluster(cluster: flink.Cluster) -> list[str]:
    return [*cluster.arguments(), "--parallelism", "2"]


def wait_for(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.02)


def test_images_that_never_respond_are_dropped_as_timeouts(stalled: Web, local: Path) -> None:
    links = json.loads((stalled.folder / "truth.json").read_text())["links"]
    silent = {link["image_url"] for link in links if link["reason"] == "timeout"}
    rows = pq.read_table(local / "dataset/miniweb/ledger").to_pylist()
    assert {row["image_url"] for row in rows if row["reason"] == "timeout"} == silent != set()


@pytest.mark.parametrize("engine", ["processes", pytest.param("prism", marks=pytest.mark.engines("prism"))])
def test_every_engine_writes_the_same_bytes(stalled: Web, local: Path, tmp_path: Path, engine: str) -> None:
    succeeded(mmc4("build", *arguments(stalled, tmp_path), *engines.options(engine)))
    assert data_of(tmp_path) == data_of(local)


@pytest.mark.engines("flink")
def test_a_flink_cluster_writes_the_same_bytes(
    stalled: Web, local: Path, cluster: flink.Cluster, tmp_path: Path
) -> None:
    kept = ("--environment_cache_millis", "20000")  # otherwise Python restarts for each step of a job
    succeeded(mmc4("build", *arguments(stalled, tmp_path), *on_cluster(cluster), *kept))
    assert data_of(tmp_path) == data_of(local)


def images(web: Web, output: Path, local: Path) -> list[str]:
    """Return the arguments of the images stage alone, on the pages of the local build."""
    for stage in ("locations", "pages"):
        shutil.copytree(local / stage, output / stage)
    return web.stage("images", output, set=COPIES)


def half_of_the_images(output: Path, local: Path) -> None:
    """Wait until some shards have been fetched. Those with images that never respond take three timeouts longer."""
    shards = len(list((local / "images").glob("*.tar")))
    wait_for(lambda: any((output / "images/fetched").glob("*.json")), "a shard is fetched")
    assert len(list((output / "images/fetched").glob("*.json"))) < shards, "too late to prove anything"


def in_the_middle(output: Path, local: Path, strike: Callable[[], None]) -> Future[None]:
    """Call `strike` from another thread once some shards have been fetched and others have not."""

    def wait_and_strike() -> None:
        half_of_the_images(output, local)
        strike()

    pool = ThreadPoolExecutor(1)
    future = pool.submit(wait_and_strike)
    pool.shutdown(wait=False)
    return future


@pytest.mark.engines("flink")
def test_a_task_manager_is_killed_and_the_job_ends_with_the_same_bytes(
    stalled: Web, local: Path, cluster: flink.Cluster, tmp_path: Path
) -> None:
    words = images(stalled, tmp_path, local)

    def strike() -> None:
        victim = cluster.task_managers.pop()
        os.killpg(victim.pid, signal.SIGKILL)  # its Python workers end when they notice
        cluster.add_task_manager()

    struck = in_the_middle(tmp_path, local, strike)
    succeeded(mmc4(*words, *on_cluster(cluster)))
    struck.result()
    assert contents(tmp_path, "images/*.*") == contents(local, "images/*.*")


@pytest.mark.engines("flink")
def test_the_python_of_a_task_manager_is_killed_and_the_job_ends_with_the_same_bytes(
    stalled: Web, local: Path, cluster: flink.Cluster, tmp_path: Path
) -> None:
    words, killed = images(stalled, tmp_path, local), []

    def strike() -> None:
        for worker in psutil.Process(cluster.task_managers[0].pid).children(recursive=True):
            worker.kill()
            killed.append(worker.pid)

    struck = in_the_middle(tmp_path, local, strike)
    succeeded(mmc4(*words, *on_cluster(cluster)))
    struck.result()
    assert killed
    assert contents(tmp_path, "images/*.*") == contents(local, "images/*.*")


@pytest.mark.engines("flink")
def test_a_stopped_driver_cancels_its_job(stalled: Web, local: Path, cluster: flink.Cluster, tmp_path: Path) -> None:
    words = images(stalled, tmp_path, local)
    with start(*words, *on_cluster(cluster)) as process:
        half_of_the_images(tmp_path, local)
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "--resume" in errors
    overview = cluster.get("/overview")
    assert (overview["jobs-running"], overview["jobs-cancelled"]) == (0, 1)
    succeeded(mmc4(*words, "--resume"))
    assert contents(tmp_path, "images/*.*") == contents(local, "images/*.*")
