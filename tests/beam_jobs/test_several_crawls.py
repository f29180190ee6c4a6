"""Documents of several crawls in one input: each is located in the index of its own crawl, and in its WARC file."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cdx import line, write_index
from tests.end_to_end.running import mmc4, refusal, succeeded

MOMENT = datetime(2019, 4, 20, 12, 0, 0, tzinfo=UTC)
CRAWLS = ("CC-MAIN-2013-20", "CC-MAIN-2019-18", "CC-MAIN-2023-50")


def url(number: int) -> str:
    return f"https://site{number % 5}.example/{number}"


def warc(crawl: str, number: int) -> str:
    return f"crawl-data/{crawl}/segments/1/warc/{number}.warc.gz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three indexes: all crawls have all URLs at the same second, in two WARC files each."""
    root = tmp_path_factory.mktemp("crawls")
    for position, crawl in enumerate(CRAWLS):
        lines = [
            line(url(number), offset=str(1000 * position + number), filename=warc(crawl, copy))
            for number in range(30)
            for copy in (1, 2)
        ]
        write_index(root / "cc", lines, crawl=crawl)
    return root


def documents(**changed: Callable[[int], Any]) -> list[dict[str, Any]]:
    """Return 30 rows of FineWeb, which are of the crawls in turn and of the second WARC file."""
    return [
        {
            "text": "A text.",
            "url": url(number),
            "date": f"{MOMENT:%Y-%m-%dT%H:%M:%SZ}",
            "dump": CRAWLS[number % 3],
            "file_path": f"s3://commoncrawl/{warc(CRAWLS[number % 3], 2)}",
        }
        | {name: value(number) for name, value in changed.items()}
        for number in range(30)
    ]


def located(folder: Path, rows: list[dict[str, Any]], output: Path, *more: str) -> dict[str, str]:
    pq.write_table(pa.Table.from_pylist(rows), output.with_suffix(".parquet"))
    where = ["--cc_root", str(folder / "cc"), "--output", str(output), "--documents_format", "fineweb"]
    succeeded(mmc4("locate", "--c4", str(output.with_suffix(".parquet")), *where, *more))
    found = pq.read_table(sorted((output / "locations").glob("locations-*.parquet"))).to_pylist()
    return {row["url"]: row["warc_filename"] for row in found}


def test_each_document_is_located_in_its_crawl_and_its_warc_file(folder: Path, tmp_path: Path) -> None:
    # The times in the rows are a little off, as if they were those of another clock: the WARC file decides.
    later = f"{MOMENT + timedelta(seconds=7):%Y-%m-%dT%H:%M:%SZ}"
    found = located(folder, documents(date=lambda _: later), tmp_path / "a")
    assert found == {url(number): warc(CRAWLS[number % 3], 2) for number in range(30)}


def test_without_a_warc_file_the_crawl_decides(folder: Path, tmp_path: Path) -> None:
    rows = documents(file_path=lambda _: None, dump=lambda number: CRAWLS[number % 3] if number < 15 else None)
    rows[0]["file_path"] = ""  # so that the column has a type
    found = located(folder, rows, tmp_path / "a", "--crawl", CRAWLS[2])
    assert found == {url(number): warc(CRAWLS[number % 3 if number < 15 else 2], 1) for number in range(30)}


def test_a_document_that_is_not_in_its_warc_file_is_dropped(folder: Path, tmp_path: Path) -> None:
    rows = documents(file_path=lambda number: f"s3://commoncrawl/{warc(CRAWLS[number % 3], 2 if number else 3)}")
    assert set(located(folder, rows, tmp_path / "a")) == {url(number) for number in range(1, 30)}
    counts = json.loads((tmp_path / "a/locations/manifest.json").read_text())["counts"]["documents"]
    assert counts == {"in": 30, "kept": 29, "dropped": {"not_located": 1}}


def test_a_sample_of_several_crawls(folder: Path, tmp_path: Path) -> None:
    found = located(folder, documents(), tmp_path / "a", "--sample", "9")
    assert len(found) == 9
    assert found.items() <= {url(number): warc(CRAWLS[number % 3], 2) for number in range(30)}.items()


def test_the_columnar_index_is_of_one_crawl(tmp_path: Path) -> None:
    index = tmp_path / f"cc/cc-index/table/cc-main/warc/crawl={CRAWLS[0]}/subset=warc/part-0.parquet"
    index.parent.mkdir(parents=True)
    rows = [
        {
            "url": url(number),
            "fetch_time": MOMENT.replace(tzinfo=None),
            "warc_filename": warc(CRAWLS[0], 2),
            "warc_record_offset": number,
            "warc_record_length": 5,
        }
        for number in range(30)
    ]
    pq.write_table(pa.Table.from_pylist(rows), index)
    one = ("--index", "columnar", "--crawl", CRAWLS[0])
    of_crawl = documents()[::3]
    assert set(located(tmp_path, of_crawl, tmp_path / "one", *one)) == {row["url"] for row in of_crawl}
    pq.write_table(pa.Table.from_pylist(documents()), tmp_path / "all.parquet")
    where = ["--cc_root", str(tmp_path / "cc"), "--output", str(tmp_path / "all"), "--documents_format", "fineweb"]
    message = refusal(mmc4("locate", "--c4", str(tmp_path / "all.parquet"), *where, *one))
    assert any(crawl in message for crawl in CRAWLS[1:])
    assert "--index cdx" in message
