"""Common Crawl over HTTP, as most users reach it: index files from its list, pages by ranges."""

import gzip
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from tests.end_to_end.running import Run, Web, contents, mmc4, succeeded
from tests.mmc4_pipeline.file_server import FileServer, Handler, cut, serving, status, well
from tests.mmc4_pipeline.virtual_clock import VirtualClock, virtual_clock

FAST = ("--cc_requests_per_second", "200")


@pytest.fixture
def mirror(web: Web, tmp_path: Path) -> Iterator[FileServer]:
    """Serve the web's Common Crawl with the list of index files that Common Crawl publishes."""
    root = tmp_path / "mirror"
    shutil.copytree(web.folder / "commoncrawl", root)
    listing = root / "crawl-data/CC-MAIN-2019-18/cc-index-table.paths.gz"
    parts = sorted(str(path.relative_to(root)) for path in root.glob("cc-index/**/*.parquet"))
    others = [path.replace("subset=warc", "subset=robotstxt") for path in parts]
    listing.write_bytes(gzip.compress("\n".join(parts + others).encode()))
    files = {f"/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with serving(files) as server:
        yield server


def locate(web: Web, mirror: FileServer, output: Path, *more: str) -> None:
    where = ("--cc_root", mirror.address, "--output", str(output))
    succeeded(mmc4("locate", "--c4", str(web.folder / "c4/*.json.gz"), *where, *FAST, *more))


def pages(output: Path, *more: str) -> Run:
    return mmc4("pages", "--output", str(output), "--documents_per_shard", "30", *FAST, *more)


@pytest.mark.parametrize("source", ["warc", "wat"])
def test_pages_over_http_are_those_of_the_folder(
    web: Web, built: Path, mirror: FileServer, tmp_path: Path, source: str
) -> None:
    locate(web, mirror, tmp_path)
    succeeded(pages(tmp_path, "--page_source", source))
    assert contents(tmp_path, "locations/*.parquet") == contents(built, "locations/*.parquet")
    if source == "warc":
        assert contents(tmp_path, "pages/*.parquet") == contents(built, "pages/*.parquet")


def test_a_server_that_fails_every_third_request_changes_no_byte(
    web: Web, built: Path, mirror: FileServer, tmp_path: Path
) -> None:
    ways = cycle([well, well, status(503, Retry_After="0"), well, well, cut(100), well, well, status(500)])

    def every_third(handler: Handler, body: bytes) -> None:
        next(ways)(handler, body)

    mirror.usual = every_third
    locate(web, mirror, tmp_path, "--fetch_user_agent", "tester/1")
    succeeded(pages(tmp_path, "--fetch_user_agent", "tester/1"))
    for pattern in ("locations/*.parquet", "pages/*.parquet"):  # later stages request nothing from this server
        assert contents(tmp_path, pattern) == contents(built, pattern)
    answers = Counter(one.status for one in mirror.requests)
    assert answers[503] > 1
    assert answers[500] > 1
    assert {one.user_agent for one in mirror.requests} == {"tester/1"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    return virtual_clock(monkeypatch)


def refused(run: Run) -> str:
    """Return the error line of a run that was refused, which follows the warnings about its pauses."""
    assert run.returncode == 1, run.stdout + run.stderr
    *before, line = run.stderr.splitlines()
    assert any("WARNING" in warning and "HTTP 403" in warning for warning in before)
    assert line.startswith("mmc4: ")
    return line


@pytest.mark.usefixtures("clock")
def test_a_refused_run_drops_nothing_and_goes_on_later(
    web: Web, built: Path, mirror: FileServer, tmp_path: Path
) -> None:
    locate(web, mirror, tmp_path)
    mirror.usual = status(403)
    line = refused(pages(tmp_path))
    assert "HTTP 403" in line
    assert line.endswith("continue with --resume")
    mirror.usual = well
    succeeded(pages(tmp_path, "--resume"))
    assert contents(tmp_path, "pages/*.parquet") == contents(built, "pages/*.parquet")


@pytest.mark.usefixtures("clock")
def test_what_was_read_before_a_refusal_is_not_asked_for_again(web: Web, mirror: FileServer, tmp_path: Path) -> None:
    locate(web, mirror, tmp_path)
    first: list[str] = []

    def only_the_first(handler: Handler, body: bytes) -> None:
        first.append(handler.path)
        (well if handler.path == first[0] else status(403))(handler, body)

    mirror.usual = only_the_first
    refused(pages(tmp_path, "--page_source", "wat"))
    mirror.usual = well
    mirror.requests.clear()
    succeeded(pages(tmp_path, "--page_source", "wat", "--resume"))
    assert len({one.path for one in mirror.requests}) == 2
    assert first[0] not in {one.path for one in mirror.requests}
    assert not (tmp_path / "pages/read").exists()
