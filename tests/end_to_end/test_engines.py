"""The same program on every engine: byte for byte the same dataset, also where workers were killed on the way."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.end_to_end import engines
from tests.end_to_end.running import Web, contents, data_of, mmc4, start, succeeded
from tests.engines import flink

PATIENCE = 300  # seconds until something that should happen is given up


def arguments(web: Web, output: Path) -> list[str]:
    """Give those of a build in more shards than there are workers anywhere, with both kinds of corpus filters."""
    copies = "filters.corpus_copies={max_copies: 10, max_distance: 5}"
    return web.build_arguments(output, documents_per_shard="8", set=copies)


@pytest.fixture(scope="module")
def local(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build on the local runner, in one process."""
    output = tmp_path_factory.mktemp("local") / "out"
    succeeded(mmc4("build", *arguments(web, output)))
    assert len(list((output / "images").glob("*.tar"))) > 4
    return output


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[flink.Cluster]:
    """Run a job manager and two task managers with two slots each."""
    with flink.cluster(tmp_path_factory.mktemp("flink")) as running:
        yield running


def on_cluster(cluster: flink.Cluster) -> list[str]:
    return [*cluster.arguments(), "--parallelism", "4"]


def wait_for(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)


@pytest.mark.parametrize("engine", engines.EVERY)
def test_every_engine_gives_the_same_bytes(web: Web, local: Path, tmp_path: Path, engine: str) -> None:
    succeeded(mmc4("build", *arguments(web, tmp_path), *engines.options(engine)))
    assert data_of(tmp_path) == data_of(local)


@pytest.mark.flink
@engines.needs("flink")
def test_a_flink_cluster_gives_the_same_bytes(web: Web, local: Path, cluster: flink.Cluster, tmp_path: Path) -> None:
    kept = ("--environment_cache_millis", "20000")  # else Python starts anew for each step of a job
    succeeded(mmc4("build", *arguments(web, tmp_path), *on_cluster(cluster), *kept))
    assert data_of(tmp_path) == data_of(local)


def images(web: Web, output: Path, local: Path) -> list[str]:
    """Give the arguments of the images stage alone, on the pages of the local build."""
    for stage in ("locations", "pages"):
        shutil.copytree(local / stage, output / stage)
    every = dict(zip(*[iter(arguments(web, output)[:-1])] * 2, strict=True))
    names = ("--recipe", "--set", "--output", "--image_routes", "--fetch_timeout", "--delay_per_host")
    return ["images", *(word for name in names for word in (name, every[name])), "--allow_private_hosts"]


def half_of_the_images(output: Path, local: Path) -> None:
    """Wait until some shards have been fetched. Those with images that never answer take three timeouts more."""
    shards = len(list((local / "images").glob("*.tar")))
    wait_for(lambda: any((output / "images/fetched").glob("*.json")), "a shard that has been fetched")
    assert len(list((output / "images/fetched").glob("*.json"))) < shards, "too late to mean anything"


def in_the_middle(output: Path, local: Path, strike: Callable[[], None]) -> Future[None]:
    """Strike, from another thread, once some shards have been fetched and others have not."""

    def wait_and_strike() -> None:
        half_of_the_images(output, local)
        strike()

    pool = ThreadPoolExecutor(1)
    future = pool.submit(wait_and_strike)
    pool.shutdown(wait=False)
    return future


@pytest.mark.flink
@engines.needs("flink")
def test_a_task_manager_is_killed_and_the_job_ends_with_the_same_bytes(
    web: Web, local: Path, cluster: flink.Cluster, tmp_path: Path
) -> None:
    words = images(web, tmp_path, local)

    def strike() -> None:
        victim = cluster.task_managers.pop()
        os.killpg(victim.pid, signal.SIGKILL)  # its Python workers notice by themselves
        cluster.add_task_manager()

    struck = in_the_middle(tmp_path, local, strike)
    succeeded(mmc4(*words, *on_cluster(cluster)))
    struck.result()
    assert contents(tmp_path, "images/*.*") == contents(local, "images/*.*")


@pytest.mark.flink
@engines.needs("flink")
def test_a_task_manager_s_python_is_killed_and_the_job_ends_with_the_same_bytes(
    web: Web, local: Path, cluster: flink.Cluster, tmp_path: Path
) -> None:
    words, killed = images(web, tmp_path, local), []

    def strike() -> None:
        for worker in psutil.Process(cluster.task_managers[0].pid).children(recursive=True):
            worker.kill()
            killed.append(worker.pid)

    struck = in_the_middle(tmp_path, local, strike)
    succeeded(mmc4(*words, *on_cluster(cluster)))
    struck.result()
    assert killed
    assert contents(tmp_path, "images/*.*") == contents(local, "images/*.*")


@pytest.mark.flink
@engines.needs("flink")
def test_a_stopped_driver_cancels_its_job(web: Web, local: Path, cluster: flink.Cluster, tmp_path: Path) -> None:
    words = images(web, tmp_path, local)
    with start(*words, *on_cluster(cluster)) as process:
        half_of_the_images(tmp_path, local)
        process.terminate()
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "continue with --resume" in said
    overview = cluster.ask("/overview")
    assert (overview["jobs-running"], overview["jobs-cancelled"]) == (0, 1)
    succeeded(mmc4(*words, "--resume"))
    assert contents(tmp_path, "images/*.*") == contents(local, "images/*.*")
