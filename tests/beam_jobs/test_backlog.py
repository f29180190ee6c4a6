"""Images that remain when the time is over: one worker fetches those of a host, --resume continues, nothing is lost."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.stage_folder import StageFolder
from schemas.image import Image
from schemas.manifest import ShardNote
from schemas.page import ImageLink, Page
from schemas.reasons import Reason, Stage
from schemas.statistics import Counts
from tests.beam_jobs.test_images import picture
from tests.end_to_end.running import mmc4, succeeded
from tests.mmc4_pipeline.file_server import FileServer, Handler, serving
from tests.mmc4_pipeline.planted_plans import pages_plan
from tests.pages import new_page

SHARDS, PER_SHARD = 4, 5


@contextmanager
def crawl(folder: Path, *hosts: str) -> Iterator[FileServer]:
    """Serve the images of hosts, which are names of this machine, and write pages of all shards that show them."""
    files = {
        f"/{host}-{shard}-{number}.jpg": cv2.imencode(".jpg", picture(1000 * at + 100 * shard + number))[1].tobytes()
        for at, host in enumerate(hosts)
        for shard in range(SHARDS)
        for number in range(PER_SHARD)
    }
    with serving(files) as server:
        port = server.address.rpartition(":")[2]
        pages = StageFolder(str(folder / "pages"), Stage.PAGES)
        pages.begin(pages_plan(SHARDS), resume=False)
        for shard in range(SHARDS):
            urls = [f"http://{host}:{port}/{host}-{shard}-{at}.jpg" for at in range(PER_SHARD) for host in hosts]
            links = [ImageLink(position, url, "", None, None) for position, url in enumerate(urls)]
            page = new_page(f"{shard:032x}", links=links, site=f"{shard}.example")
            file = storage.write_records(pages.shard_file("pages", shard, SHARDS), [page], Page)
            counts = {"documents": Counts(1, 1), "links": Counts(len(urls), len(urls))}
            pages.finish_shard(ShardNote(shard=shard, files=[file], counts=counts))
        pages.finish()
        yield server


def images(folder: Path, *more: str) -> list[str]:
    """Return the arguments of a run in which no image is fetched within the time of its shard."""
    return ["images", "--output", str(folder), "--allow_private_hosts", "--shard_seconds", "0.000001", *more]


def rows(folder: Path) -> list[Image]:
    files = sorted((folder / "images").glob("images-*.parquet"))
    return [image for path in files for image in storage.read_records(str(path), Image)]


def tars(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "images").glob("*.tar")}


def requested(server: FileServer) -> Counter[str]:
    return Counter(request.path for request in server.requests if request.path != "/robots.txt")


def test_the_backlog_makes_the_same_dataset(tmp_path: Path) -> None:
    with crawl(tmp_path, "127.0.0.1", "localhost") as server:
        succeeded(mmc4("images", "--output", str(tmp_path), "--allow_private_hosts", "--delay_per_host", "0"))
        expected, in_time = tars(tmp_path), rows(tmp_path)
        storage.remove_folder(str(tmp_path / "images"))
        server.requests.clear()
        succeeded(mmc4(*images(tmp_path, "--delay_per_host", "0")))
        assert set(requested(server).values()) == {1}
    assert tars(tmp_path) == expected
    assert rows(tmp_path) == in_time
    assert {path.name for path in (tmp_path / "images").iterdir() if path.is_dir()} == {"done", "fetched"}


def test_a_host_is_asked_by_one_worker_only(tmp_path: Path) -> None:
    open_now, most, lock = Counter[str](), Counter[str](), threading.Lock()

    def slow(handler: Handler, body: bytes) -> None:
        host = handler.path.split("-")[0]
        with lock:
            open_now[host] += 1
            most[host] = max(most[host], open_now[host])
        time.sleep(0.05)  # long enough for requests of other workers to arrive
        with lock:
            open_now[host] -= 1
        handler.answer(200, body, {})

    with crawl(tmp_path, "127.0.0.1", "localhost") as server:
        server.usual = slow
        one = ("--delay_per_host", "0", "--max_open_per_host", "1", "--max_open_per_shared_host", "1")
        workers = ("--direct_num_workers", "2", "--direct_running_mode", "multi_processing")
        succeeded(mmc4(*images(tmp_path, *one, *workers)))
    assert set(most.values()) == {1}
    assert len(most) == 2
    assert {row.reason for row in rows(tmp_path)} == {None}


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[FileServer]:
    """Run with a host that is fast and one for whose images there is too little time; serve both."""
    with crawl(tmp_path, "127.0.0.1", "localhost") as server:

        def busy(handler: Handler, body: bytes) -> None:
            if handler.path.startswith("/localhost"):
                handler.answer(429, b"", {"Retry-After": "3000"})
            else:
                handler.answer(200, body, {})

        usual, server.usual = server.usual, busy
        run = mmc4(*images(tmp_path, "--delay_per_host", "0", "--backlog_seconds", "60"))
        assert run.returncode == 1
        line = run.stderr.splitlines()[-1]  # after warnings about the busy host
        server.usual = usual
        name = server.address.replace("http://127.0.0.1", "localhost")
        assert re.search(rf"\b20\b.*\b1\b.*{name}.*\b20\b.*remaining\.json", line)
        assert "--resume" in line
        assert "--accept_deferred" in line
        assert json.loads((tmp_path / "images/backlog/remaining.json").read_text()) == {name: 20}
        assert not (tmp_path / "images/manifest.json").exists()
        assert not list((tmp_path / "images/done").glob("*"))
        yield server


def test_resume_continues_with_what_remains(tmp_path: Path, stopped: FileServer) -> None:
    stopped.requests.clear()
    succeeded(mmc4(*images(tmp_path, "--delay_per_host", "0", "--resume")))
    assert requested(stopped) == {f"/localhost-{at}-{n}.jpg": 1 for at in range(SHARDS) for n in range(PER_SHARD)}
    assert {row.reason for row in rows(tmp_path)} == {None}
    assert not (tmp_path / "images/backlog").exists()


def test_what_remains_is_deferred_if_the_user_accepts_that(tmp_path: Path, stopped: FileServer) -> None:
    stopped.requests.clear()
    succeeded(mmc4(*images(tmp_path, "--accept_deferred", "--resume")))
    assert requested(stopped) == {}
    found = Counter((row.url.split("/")[2].split(":")[0], row.reason) for row in rows(tmp_path))
    assert found == {("127.0.0.1", None): 20, ("localhost", Reason.DEFERRED): 20}
    errors = {(row.http_status, row.error) for row in rows(tmp_path) if row.reason}
    assert any(status == 429 for status, _ in errors)
    counts = json.loads((tmp_path / "images/manifest.json").read_text())["counts"]["links"]
    assert counts == {"in": 40, "kept": 20, "dropped": {"deferred": 20}}
