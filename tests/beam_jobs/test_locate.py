"""The locate job over several filters and shards: what is found, what is shuffled, and the result of a resumed run."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs import locate, locate_choice
from beam_jobs.locate_cdx import CdxLookUps
from beam_jobs.locate_choice import choose_index
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.storage import HttpSettings, Inputs
from schemas.reasons import Stage
from tests.cdx import CRAWL, line, write_index
from tests.end_to_end.running import contents, mmc4, refusal, succeeded
from tests.mmc4_pipeline.file_server import FileServer, serving

START = datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)
DOCUMENTS = 300
ROWS = 20_000


def url(number: int) -> str:
    return f"https://site{number % 97}.example/{number}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an index of 20,000 rows in four files, and C4 in two formats, a tenth of it late."""
    root = tmp_path_factory.mktemp("crawl")
    index = root / "cc/cc-index/table/cc-main/warc/crawl=CC-MAIN-2019-18/subset=warc"
    index.mkdir(parents=True)
    rows = pa.table(
        {
            "url": [url(number) for number in range(ROWS)],
            "fetch_time": pa.array([START.replace(tzinfo=None)] * ROWS, pa.timestamp("ms")),
            "warc_filename": [f"crawl-data/warc/{number % 7}.warc.gz" for number in range(ROWS)],
            "warc_record_offset": pa.array(range(ROWS), pa.int32()),
            "warc_record_length": pa.array([9] * ROWS, pa.int32()),
        }
    )
    for part in range(4):
        quarter = rows.slice(part * ROWS // 4, ROWS // 4)
        pq.write_table(quarter, index / f"part-{part}.parquet", row_group_size=2000)
    pq.write_table(rows.slice(0, 0), index / "part-4.parquet")
    second = f"{START:%Y%m%d%H%M%S}"
    lines = [
        line(url(number), second, offset=str(number), length="9", filename=f"crawl-data/warc/{number % 7}.warc.gz")
        for number in range(ROWS)
    ]
    write_index(root / "cc", lines, of_block=300, blocks_of_file=20)
    documents = [
        {
            "content": "A text.",
            "url": url(number * 61),
            "date": f"{START + timedelta(seconds=number % 10 // 9):%Y-%m-%dT%H:%M:%SZ}",
        }
        for number in range(DOCUMENTS)
    ]
    (root / "a.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents[:200]))
    pq.write_table(pa.Table.from_pylist(documents[200:]), root / "b.parquet", row_group_size=30)
    return root


@pytest.fixture
def arguments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the arguments of a run with three shards and seven filters."""
    monkeypatch.setattr(locate, "DOCUMENTS_PER_SHARD", 100)
    monkeypatch.setattr(locate_choice, "URLS_PER_FILTER", 43)
    fields = ["--c4_fields", "text=content", "timestamp=date"]
    documents = ["--c4", f"{folder}/a.jsonl", f"{folder}/b.parquet", *fields]
    return ["locate", *documents, "--cc_root", f"{folder}/cc", "--index", "columnar"]


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, bytes]], FileServer]]:
    with ExitStack() as stack:
        yield lambda files: stack.enter_context(serving(files))


def notes(output: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((output / "locations/done").iterdir())]


def test_everything_is_located_and_little_else_is_shuffled(arguments: list[str], folder: Path, tmp_path: Path) -> None:
    succeeded(mmc4(*arguments, "--output", str(tmp_path)))
    rows = pq.read_table(list((tmp_path / "locations").glob("locations-*.parquet"))).to_pylist()
    found = {row["url"]: (row["offset"], row["warc_filename"], row["source"]) for row in rows}
    files = [(f"{folder}/a.jsonl", number + 1) for number in range(200)]
    files += [(f"{folder}/b.parquet", number + 1) for number in range(100)]
    assert found == {
        url(number * 61): (
            number * 61,
            f"crawl-data/warc/{number * 61 % 7}.warc.gz",
            f"{files[number][0]}:{files[number][1]}",
        )
        for number in range(DOCUMENTS)
        if number % 10 != 9
    }
    manifest = json.loads((tmp_path / "locations/manifest.json").read_text())
    assert manifest["shards"] == 3
    assert manifest["input"]["index_rows"] == ROWS
    assert manifest["counts"]["documents"] == {"in": 300, "kept": 270, "dropped": {"not_located": 30}}
    assert DOCUMENTS <= sum(note["index_rows_shuffled"] for note in notes(tmp_path)) <= 1.1 * DOCUMENTS
    assert not (tmp_path / "locations/wanted").exists()


def test_a_resumed_run_ends_with_the_same_bytes_and_counts(arguments: list[str], tmp_path: Path) -> None:
    succeeded(mmc4(*arguments, "--output", str(tmp_path)))
    before, said = contents(tmp_path, "locations/**/*"), notes(tmp_path)
    for name in ("manifest.json", "done/00001.json", "locations-00001-of-00003.parquet"):
        (tmp_path / "locations" / name).unlink()
    other = tmp_path / "locations/locations-00002-of-00003.parquet"
    written = other.stat().st_mtime_ns
    succeeded(mmc4(*arguments, "--output", str(tmp_path), "--resume"))
    assert contents(tmp_path, "locations/**/*") == before
    assert notes(tmp_path) == said
    assert other.stat().st_mtime_ns == written


def test_a_span_of_time_locates_the_late_ones_too(arguments: list[str], tmp_path: Path) -> None:
    succeeded(mmc4(*arguments, "--output", str(tmp_path), "--set", "locate.max_seconds_apart=1"))
    rows = pq.read_table(list((tmp_path / "locations").glob("locations-*.parquet"))).to_pylist()
    assert sum(row["seconds_apart"] for row in rows) == len(rows) - 270 == 30


def test_other_names_of_the_fields_are_another_run(arguments: list[str], tmp_path: Path) -> None:
    succeeded(mmc4(*arguments, "--output", str(tmp_path)))
    other = ["--c4_fields", "text=url", "timestamp=date"]
    message = refusal(mmc4(*arguments, "--output", str(tmp_path), *other, "--resume"))
    assert "input.c4_fields.text: was content, is url" in message


def test_look_ups_give_the_same_locations_with_one_request_per_block(
    arguments: list[str], folder: Path, tmp_path: Path, serve: Callable[[dict[str, bytes]], FileServer]
) -> None:
    succeeded(mmc4(*arguments, "--output", str(tmp_path / "columnar")))
    files = {f"/{path.relative_to(folder / 'cc')}": path.read_bytes() for path in (folder / "cc").rglob("cdx-*.gz")}
    cluster = next((folder / "cc").rglob("cluster.idx"))
    server = serve(files | {f"/{cluster.relative_to(folder / 'cc')}": cluster.read_bytes()})
    remote = ["--cc_root", server.address, "--index", "cdx", "--cc_requests_per_second", "1000"]
    succeeded(mmc4(*arguments, *remote, "--output", str(tmp_path / "cdx")))
    assert located(tmp_path / "cdx") == located(tmp_path / "columnar")
    ranges = [(request.path, request.start) for request in server.requests if request.path.endswith(".gz")]
    assert len(ranges) == len(set(ranges)) <= ceil(ROWS / 300)
    manifest = json.loads((tmp_path / "cdx/locations/manifest.json").read_text())
    assert list(manifest["input"]["index"].values()) == [cluster.stat().st_size]


def located(output: Path) -> dict[str, str]:
    return contents(output / "locations", "*.parquet")


def test_a_resumed_look_up_ends_with_the_same_bytes(arguments: list[str], tmp_path: Path) -> None:
    arguments = [*arguments, "--index", "cdx", "--output", str(tmp_path)]
    succeeded(mmc4(*arguments))
    before, said = contents(tmp_path, "locations/**/*"), notes(tmp_path)
    for name in ("manifest.json", "done/00001.json", "locations-00001-of-00003.parquet"):
        (tmp_path / "locations" / name).unlink()
    succeeded(mmc4(*arguments, "--resume"))
    assert contents(tmp_path, "locations/**/*") == before
    assert notes(tmp_path) == said


@pytest.mark.parametrize(("gigabytes", "kind"), [(0, "columnar"), (10, "cdx")])
def test_few_documents_are_looked_up_unless_the_columnar_index_is_small(
    folder: Path, tmp_path: Path, gigabytes: int, kind: str
) -> None:
    crawl = shutil.copytree(folder / "cc", tmp_path / "cc")
    if gigabytes:
        with (next(crawl.rglob("subset=warc")) / "part-9.parquet").open("wb") as large:
            large.truncate(gigabytes << 30)  # only its size is looked at
    inputs, stage = Inputs(HttpSettings()), StageFolder(str(tmp_path), Stage.LOCATE)
    chosen, _ = choose_index("auto", inputs, str(crawl), CRAWL, stage, 100, shards=1)
    assert isinstance(chosen, CdxLookUps) == (kind == "cdx")
