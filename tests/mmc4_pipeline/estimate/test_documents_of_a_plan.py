"""`mmc4 plan` with files of documents: how many there are, and how little is read of them."""

import gzip
import json
import random
import re
from collections.abc import Callable

import pytest

from mmc4_pipeline.estimate import whole_run
from mmc4_pipeline.estimate.estimate import Speeds
from tests.end_to_end.running import mmc4, refusal, succeeded
from tests.mmc4_pipeline.file_server import FileServer
from tests.mmc4_pipeline.hub import FOLDER, sent

GIVEN = ["--score_images_per_second", "2", "--score_sentences_per_second", "40"]  # and so are not measured
HEAD = 256 << 10  # bytes of a file that are read to count its documents
DRAW = random.Random(5)
Hub = Callable[[dict[str, bytes]], FileServer]


@pytest.fixture(autouse=True)
def _speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the measurement of this machine, which other tests cover."""
    monkeypatch.setattr(whole_run, "measure_speeds", lambda *_: Speeds(1e-3, 1e8, 1e8, 1e6, 200.0))


def c4(documents: int, **names: str) -> bytes:
    """Return a file of documents whose texts can hardly be compressed."""
    row = {name: names.get(name, name) for name in ("text", "timestamp", "url")}
    lines = (
        {row["text"]: DRAW.randbytes(600).hex(), row["timestamp"]: "2019-04-25T12:00:00Z", row["url"]: f"http://a/{n}"}
        for n in range(documents)
    )
    return gzip.compress("".join(f"{json.dumps(line)}\n" for line in lines).encode())


def documents(*arguments: str) -> int:
    """Return the number of documents that a plan is for."""
    out = succeeded(mmc4("plan", *arguments, *GIVEN)).stdout
    found = re.search(r"^- ([\d,]+) documents from", out, re.MULTILINE)
    assert found, out
    return int(found[1].replace(",", ""))


def test_the_beginning_of_one_file_tells_how_many_documents_all_files_have(hub: Hub) -> None:
    server = hub({f"{letter}.json.gz": c4(3000) for letter in "abc"})
    assert documents("--c4", f"{FOLDER}/*.json.gz") == pytest.approx(9000, rel=0.1)
    assert 0 < sent(server, "a.json.gz") <= HEAD < len(server.files[next(iter(server.files))]) / 5
    assert sent(server, "b.json.gz") == sent(server, "c.json.gz") == 0


def test_a_limit_ends_the_count(hub: Hub) -> None:
    server = hub({f"{letter}.json.gz": c4(1000) for letter in "abc"})
    assert documents("--c4", f"{FOLDER}/*.json.gz", "--limit", "1500") == 1500
    assert 0 < sent(server, "b.json.gz") <= HEAD
    assert sent(server, "c.json.gz") == 0
    assert documents("--c4", f"{FOLDER}/*.json.gz", "--limit", "100000") == pytest.approx(3000, rel=0.1)
    assert documents("--documents", "5000", "--limit", "20") == 20


def test_the_index_that_a_limited_run_would_read_is_part_of_the_estimate() -> None:
    outs = [
        succeeded(mmc4("plan", "--documents", "365000000", *more, *GIVEN)).stdout for more in ([], ["--limit", "9"])
    ]
    reads = [re.search(r"^locate +\S+ +(\S+)", out, re.MULTILINE) for out in outs]
    assert [read and read[1][-2:] for read in reads] == ["GB", "MB"]  # with the documents' own bytes


def test_other_names_of_fields_are_given_as_for_a_build(hub: Hub) -> None:
    hub({"a.json.gz": c4(30, text="content")})
    assert "'text'" in refusal(mmc4("plan", "--c4", f"{FOLDER}/a.json.gz", *GIVEN))
    assert documents("--c4", f"{FOLDER}/a.json.gz", "--c4_fields", "text=content") == 30


def test_files_without_documents_and_impossible_limits_are_refused(hub: Hub) -> None:
    hub({"a.json.gz": gzip.compress(b"")})
    assert "--c4" in refusal(mmc4("plan", "--c4", f"{FOLDER}/a.json.gz", *GIVEN))
    assert "--limit" in refusal(mmc4("plan", "--documents", "5", "--limit", "0", *GIVEN))
