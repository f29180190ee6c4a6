"""A Flink job ends with the same bytes even if workers are killed on the way, or its driver is stopped."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.running import Web, contents, mmc4, start, succeeded
from tests.end_to_end.stalled import COPIES, on_cluster
from tests.engines import flink

pytestmark = pytest.mark.engines("flink")
PATIENCE = 300  # seconds to wait for an event before the test fails


def wait_for(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.02)


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


def test_the_python_of_a_task_manager_is_killed_and_the_job_ends_with_the_same_bytes(
    stalled: Web, local: Path, cluster: flink.Cluster, tmp_path: Path
) -> None:
    words, killed = images(stalled, tmp_path, local), []

    def strike() -> None:
        for worker in psutil.Process(cluster.task_managers[0].pid).children(recursive=True):
            worker.kill()
            killed.append(worker.pid)

    struck = in_the_middle(tmp_path, local, strike)
    not_kept = ("--environment_cache_millis", "0")  # with a worker that is kept, a job ends when it is killed
    succeeded(mmc4(*words, *on_cluster(cluster), *not_kept))
    struck.result()
    assert killed
    assert contents(tmp_path, "images/*.*") == contents(local, "images/*.*")


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
