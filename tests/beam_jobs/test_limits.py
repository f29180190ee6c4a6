"""--limit and --sample of the locate job: which documents are used, what is read, and when a resume is refused."""

import gzip
import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs import locate
from mmc4_pipeline.naming import document_key
from tests.cdx import line, write_index
from tests.end_to_end.running import contents, mmc4, refusal, succeeded
from tests.mmc4_pipeline.file_server import Handler, cut, serving, well
from tests.mmc4_pipeline.hub import FOLDER, resolved, serving_hub

MOMENT = datetime(2019, 4, 20, 12, 0, 0, tzinfo=UTC)
DOCUMENTS = 90


def url(number: int) -> str:
    return f"https://site{number % 7}.example/{number}"


def document(number: int, text: str = "A text.") -> dict[str, str]:
    return {"text": text, "url": url(number), "timestamp": f"{MOMENT:%Y-%m-%dT%H:%M:%SZ}"}


def write_lines(path: Path, documents: list[dict[str, str]], before: str = "", level: int = 9) -> None:
    lines = before + "".join(json.dumps(item) + "\n" for item in documents)
    path.write_bytes(gzip.compress(lines.encode(), level, mtime=0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an index, and 90 documents in three files, of which the first begins with a bad line."""
    root = tmp_path_factory.mktemp("documents")
    write_index(root / "cc", [line(url(number)) for number in range(DOCUMENTS)])
    documents = [document(number) for number in range(DOCUMENTS)]
    write_lines(root / "a.json.gz", documents[:29], before="no JSON\n")
    pq.write_table(pa.Table.from_pylist(documents[29:60]), root / "b.parquet", row_group_size=10)
    write_lines(root / "c.json.gz", documents[60:])
    return root


def arguments(folder: Path, output: Path, *more: str, files: str = "*.[jp]*") -> list[str]:
    where = ["--cc_root", str(folder / "cc"), "--index", "cdx", "--output", str(output)]
    return ["locate", "--c4", str(folder / files), *where, *more]


def located(output: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(sorted((output / "locations").glob("locations-*.parquet"))).to_pylist()
    return sorted(rows, key=lambda row: (len(row["source"]), row["source"]))


def counts(output: Path) -> dict[str, Any]:
    return json.loads((output / "locations/manifest.json").read_text())["counts"]["documents"]


@pytest.mark.parametrize("limit", [1, 30, 61, 75, 1000])
def test_a_limit_takes_the_first_lines_and_rows_of_the_files_in_order(folder: Path, tmp_path: Path, limit: int) -> None:
    run = mmc4(*arguments(folder, tmp_path, "--limit", str(limit)))
    if limit == 1:  # only the bad line
        assert "--c4" in refusal(run)
        return
    succeeded(run)
    used = min(limit, DOCUMENTS + 1)
    assert counts(tmp_path) == {"in": used, "kept": used - 1, "dropped": {"invalid_document": 1}}
    assert {row["url"] for row in located(tmp_path)} == {url(number) for number in range(used - 1)}


def test_a_resume_with_another_limit_is_refused(folder: Path, tmp_path: Path) -> None:
    succeeded(mmc4(*arguments(folder, tmp_path, "--limit", "20")))
    before = located(tmp_path)
    succeeded(mmc4(*arguments(folder, tmp_path, "--limit", "20", "--resume")))
    assert located(tmp_path) == before
    for other in (["--limit", "25"], ["--sample", "20"], []):
        assert "limit" in refusal(mmc4(*arguments(folder, tmp_path, *other, "--resume")))


def test_a_limit_reads_only_the_beginning_of_a_large_file(folder: Path, tmp_path: Path) -> None:
    text = random.Random(1).randbytes(2000).hex()
    documents = [document(number, text) for number in range(DOCUMENTS)]
    write_lines(
        tmp_path / "c4.json.gz", documents + [document(number, text[number:]) for number in range(2000)], level=0
    )
    packed = (tmp_path / "c4.json.gz").read_bytes()
    assert len(packed) > 4 << 20
    with serving({"/c.json.gz": packed, "/d.json.gz": packed}) as server:
        files = ["--c4", f"{server.address}/c.json.gz", f"{server.address}/d.json.gz"]
        succeeded(mmc4(*arguments(folder, tmp_path, *files, "--limit", "20")))
        assert sum(end - start for start, end in server.spans()) < 1 << 20
        assert sum(request.sent for request in server.finished() if request.path == "/d.json.gz") <= 1
    assert counts(tmp_path) == {"in": 20, "kept": 20, "dropped": {}}


def test_documents_are_read_from_the_hub_although_the_connection_breaks(folder: Path, tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(json.dumps(document(number)).encode() + b"\n" for number in range(DOCUMENTS)), 0)
    large = packed + gzip.compress(random.Random(3).randbytes(3 << 20), 0)  # no line ends soon
    with serving_hub({"a.json.gz": large}) as server:
        broken = iter([True, False, True])

        def breaking(handler: Handler, body: bytes) -> None:
            of_file = handler.path == resolved("a.json.gz")
            (cut(1000) if of_file and next(broken, False) else well)(handler, body)

        server.usual = breaking
        chosen = arguments(folder, tmp_path, "--c4", f"{FOLDER}/*.json.gz", "--limit", "20")
        command = [sys.executable, "-m", "mmc4_pipeline.cli", *chosen]
        subprocess.run(command, check=True, env={**os.environ, "HF_ENDPOINT": server.address})
        server.spans()
        sent = sum(request.sent for request in server.finished() if request.path == resolved("a.json.gz"))
    assert not list(broken)
    assert sent < 1 << 20
    assert counts(tmp_path) == {"in": 20, "kept": 20, "dropped": {}}
    assert {row["source"].rpartition(":")[0] for row in located(tmp_path)} == {f"{FOLDER}/a.json.gz"}


def test_a_sample_has_the_documents_with_the_smallest_keys_however_they_are_divided(
    folder: Path, tmp_path: Path
) -> None:
    keys = sorted(document_key(url(number), MOMENT) for number in range(DOCUMENTS))
    more = ["--sample", "12", "--direct_num_workers", "2"]
    succeeded(mmc4(*arguments(folder, tmp_path / "three", *more)))
    assert sorted(row["key"] for row in located(tmp_path / "three")) == keys[:12]
    assert counts(tmp_path / "three") == {"in": 12, "kept": 12, "dropped": {}}
    shuffled = [document(number) for number in range(DOCUMENTS)]
    random.Random(2).shuffle(shuffled)
    write_lines(tmp_path / "all.json.gz", shuffled)
    one = ["--c4", str(tmp_path / "all.json.gz")]
    succeeded(mmc4(*arguments(folder, tmp_path / "one", *more), *one))
    assert sorted(row["key"] for row in located(tmp_path / "one")) == keys[:12]


def test_a_resumed_sample_ends_with_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locate, "DOCUMENTS_PER_SHARD", 5)
    chosen = arguments(folder, tmp_path, "--sample", "12")
    succeeded(mmc4(*chosen))
    before = contents(tmp_path, "locations/**/*")
    for name in ("manifest.json", "done/00001.json", "locations-00001-of-00003.parquet"):
        (tmp_path / "locations" / name).unlink()
    succeeded(mmc4(*chosen, "--resume"))
    assert contents(tmp_path, "locations/**/*") == before


def test_a_sample_larger_than_the_input_is_all_of_it(folder: Path, tmp_path: Path) -> None:
    succeeded(mmc4(*arguments(folder, tmp_path, "--sample", "1000")))
    assert counts(tmp_path) == {"in": DOCUMENTS, "kept": DOCUMENTS, "dropped": {}}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--limit", "0"], "--limit"),
        (["--sample", "-1"], "--sample"),
        (["--limit", "2", "--sample", "2"], "--limit and"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(folder: Path, tmp_path: Path, given: list[str], named: str) -> None:
    assert named in refusal(mmc4(*arguments(folder, tmp_path, *given)))
