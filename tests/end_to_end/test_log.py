"""What a run logs on stderr: warnings by default, progress with -v, and nothing of other packages."""

import re
import shutil
from pathlib import Path

import pytest

from tests.end_to_end.running import MINIWEB, STAGES, Run, Web, mmc4, succeeded
from tests.mmc4_pipeline.file_server import FileServer, Handler, serving, status, well

RECORD = re.compile(r"\d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR|CRITICAL) (\w+)[\w.]*: (.*)")
BUSY = status(503, Retry_After="0")
WORKERS = ("--direct_num_workers", "2")


def records(run: Run) -> list[tuple[str, str, str]]:
    """Return level, package and message of each record; fails if stderr has anything but records and progress."""
    lines = [line for line in run.stderr.splitlines() if not line.startswith(STAGES)]
    found = [match.groups() for line in lines if (match := RECORD.fullmatch(line))]
    assert len(found) == len(lines), run.stderr
    return [(level, package, message) for level, package, message in found]


def busy_twice(server: FileServer, plan: Path, *, in_workers: bool) -> None:
    """Let the server refuse two requests: the first of the main process, or the first after the stage has begun."""
    refused = 0

    def usual(handler: Handler, body: bytes) -> None:
        nonlocal refused
        if refused < 2 and plan.exists() == in_workers:
            refused += 1
            BUSY(handler, body)
        else:
            well(handler, body)

    server.usual = usual


@pytest.mark.parametrize("in_workers", [False, True])
def test_waiting_for_a_busy_server_is_reported(web: Web, tmp_path: Path, in_workers: bool) -> None:
    warc = min(web.folder.glob("commoncrawl/crawl-data/*/segments/*/warc/*.gz"))
    with serving({"/some.warc.gz": warc.read_bytes()}) as server:
        busy_twice(server, tmp_path / "pages/plan.json", in_workers=in_workers)
        url = f"{server.address}/some.warc.gz"
        arguments = ("--output", str(tmp_path), "--warcs", url, "--recipe", "page-text")
        found = records(succeeded(mmc4("pages", *arguments, *(WORKERS if in_workers else ()))))
    assert [(level, package) for level, package, _ in found] == [("WARNING", "mmc4_pipeline")] * 2
    assert all(url in message and "503" in message for _, _, message in found)


@pytest.mark.parametrize("workers", [(), WORKERS])
def test_stages_and_shards_are_logged_if_that_is_wanted(built: Path, tmp_path: Path, workers: tuple[str, ...]) -> None:
    output = shutil.copytree(built, tmp_path / "out")
    arguments = ("cut", "--output", str(output), "--recipe", str(MINIWEB / "miniweb.yaml"), *workers)
    shutil.rmtree(output / "dataset")
    found = records(succeeded(mmc4(*arguments, "-v")))
    assert {(level, package) for level, package, _ in found} == {("INFO", "beam_jobs")}
    numbers = [re.findall(r"^cut: shard (\d+) ", message) for _, _, message in found]
    assert sorted(number for found in numbers for number in found) == ["0", "0", "1", "1"]  # begun and finished
    assert numbers[0] == numbers[-1] == []  # the stage itself
    shutil.rmtree(output / "dataset")
    assert records(succeeded(mmc4(*arguments))) == []
