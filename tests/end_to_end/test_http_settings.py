"""Whatever a stage reads over HTTP is requested under the user's name and at the user's rate: inputs, lists, shards."""

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmc4_pipeline.miniweb.serve import load_responses
from tests.end_to_end.running import MINIWEB, Web, mmc4, succeeded
from tests.mmc4_pipeline.file_server import FileServer, serving
from tests.mmc4_pipeline.images.from_img2dataset.written_shards import Row, write_shard
from tests.mmc4_pipeline.virtual_clock import VirtualClock, virtual_clock

NAME = "tester/1 (+https://tester.example)"
RECIPE = ("--recipe", str(MINIWEB / "miniweb.yaml"))
FAST = ("--cc_requests_per_second", "500")
SLOW = 2.0  # requests per second
NAMED = ("--fetch_user_agent", NAME)


@pytest.fixture
def server(web: Web, tmp_path: Path) -> Iterator[FileServer]:
    """Serve the web's C4 and Common Crawl, a deny-list, and two image shards."""
    root = tmp_path / "served"
    shutil.copytree(web.folder / "commoncrawl", root)
    shutil.copytree(web.folder / "c4", root / "c4")
    (root / "deny.txt").write_text("denied.example\n")
    images = [(url, answer.body) for url, answer in load_responses(web.folder).items() if url.endswith(".jpg")]
    for number in range(2):
        write_shard(root, number, [Row(url, body) for url, body in images[number::2][:3] if body])
    files = {f"/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with serving(files) as serving_these:
        yield serving_these


def urls(server: FileServer, ending: str) -> list[str]:
    found = [server.address + path for path in sorted(server.files) if path.endswith(ending)]
    assert found
    return found


def run(output: Path, stage: str, *arguments: str) -> None:
    succeeded(mmc4(stage, "--output", str(output), *arguments))


def copied(built: Path, output: Path, *stages: str) -> Path:
    for stage in stages:
        shutil.copytree(built / stage, output / stage)
    return output


def denied(server: FileServer) -> tuple[str, str]:
    return "--set", f"filters.deny_list.list={server.address}/deny.txt"


def locate(server: FileServer, output: Path) -> None:
    listing = (path for path in server.files if path.startswith("/cc-index/"))
    server.files["/crawl-data/CC-MAIN-2019-18/cc-index-table.paths.gz"] = gzip.compress(
        "\n".join(path[1:] for path in listing).encode()
    )
    run(output, "locate", "--c4", *urls(server, ".json.gz"), "--cc_root", server.address, *RECIPE, *NAMED, *FAST)


def only_named(server: FileServer, *paths: str) -> bool:
    """Return whether all requests have the name, having checked that each of these paths was requested."""
    assert {path for path in paths if not any(path in one.path for one in server.requests)} == set()
    return {one.user_agent for one in server.requests} == {NAME}


@pytest.mark.parametrize("source", ["warc", "wat", "warc_scan"])
def test_locate_and_pages(server: FileServer, tmp_path: Path, source: str) -> None:
    locate(server, tmp_path)
    assert only_named(server, "/c4/", "/cc-index/", "cc-index-table.paths.gz")
    server.requests.clear()
    run(tmp_path, "pages", "--page_source", source, *RECIPE, *denied(server), *NAMED, *FAST)
    assert only_named(server, "/c4/", "/wat/" if source == "wat" else "/warc/", "/deny.txt")


def test_pages_of_warc_files(server: FileServer, tmp_path: Path) -> None:
    recipe = ("--recipe", "page-text")
    run(tmp_path, "pages", "--warcs", *urls(server, ".warc.gz"), *recipe, *denied(server), *NAMED, *FAST)
    assert only_named(server, "/warc/", "/deny.txt")


def test_images_of_image_shards(built: Path, server: FileServer, tmp_path: Path) -> None:
    output = copied(built, tmp_path / "out", "pages")
    run(output, "images", "--images_from", *urls(server, ".tar"), *RECIPE, *denied(server), *NAMED, *FAST)
    assert only_named(server, "0.tar", "0.parquet", "/deny.txt")


def test_cut(built: Path, server: FileServer, tmp_path: Path) -> None:
    output = copied(built, tmp_path / "out", "locations", "pages", "images", "scores")
    run(output, "cut", *RECIPE, *denied(server), *NAMED, *FAST)
    assert only_named(server, "/deny.txt")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    return virtual_clock(monkeypatch)


@pytest.mark.parametrize("stage", ["pages", "images"])
def test_the_rate_is_kept(built: Path, server: FileServer, tmp_path: Path, clock: VirtualClock, stage: str) -> None:
    output = copied(built, tmp_path / "out", *(["pages"] if stage == "images" else []))
    began = clock.monotonic()
    if stage == "pages":
        arguments = ["--warcs", *urls(server, ".warc.gz"), "--recipe", "page-text"]
    else:
        arguments = ["--images_from", *urls(server, ".tar"), *RECIPE]
    run(output, stage, *arguments, *denied(server), *NAMED, "--cc_requests_per_second", str(SLOW))
    assert len(server.requests) > 4
    assert clock.monotonic() - began >= (len(server.requests) - 1) / SLOW
