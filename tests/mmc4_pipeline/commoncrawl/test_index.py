"""The columnar index: real Parquet files, right, incomplete and broken."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmc4_pipeline.commoncrawl.index import COLUMNS, index_files, read_captures, row_groups
from mmc4_pipeline.commoncrawl.wanted import BloomFilter, WantedUrls, hashes_of
from mmc4_pipeline.errors import UserError
from schemas.capture import Capture
from tests.mmc4_pipeline.file_server import INPUTS

MOMENT = datetime(2019, 4, 25, 12, 57, 54)  # noqa: DTZ001 - Common Crawl's column has no time zone, and means UTC
ROWS = 3000


def table(**changed: pa.Array) -> pa.Table:
    """Return an index with more columns than are needed, in another order."""
    columns = {
        "warc_record_length": pa.array(range(ROWS), pa.int32()),
        "url_surtkey": pa.array([f"example,a)/{number}" for number in range(ROWS)]),
        "warc_filename": pa.array(["x.warc.gz"] * ROWS),
        "fetch_time": pa.array([MOMENT] * ROWS, pa.timestamp("ns")),
        "warc_record_offset": pa.array(range(ROWS), pa.int64()),
        "url": pa.array([f"https://a.example/{number * 7919}" for number in range(ROWS)]),
    }
    return pa.table(columns | changed)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "part-0.parquet")


def wanted(*urls: str) -> WantedUrls:
    return WantedUrls({0: BloomFilter.of(hashes_of(pa.array(urls, pa.string())), 1e-9)}, 1)


def test_only_wanted_rows_are_read(path: str) -> None:
    pq.write_table(table(), path, row_group_size=1000)
    assert row_groups(INPUTS, path) == [1000, 1000, 1000]
    urls = wanted("https://a.example/7919", f"https://a.example/{2500 * 7919}", "https://nowhere.example/")
    found = [capture for group in range(3) for capture in read_captures(INPUTS, path, group, urls)]
    moment = MOMENT.replace(tzinfo=UTC)
    assert found == [
        Capture("https://a.example/7919", moment, "x.warc.gz", 1, 1),
        Capture(f"https://a.example/{2500 * 7919}", moment, "x.warc.gz", 2500, 2500),
    ]
    assert list(read_captures(INPUTS, path, 0, wanted())) == []


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("url", pa.large_string()),
        ("url", pa.string_view()),
        ("url", pa.dictionary(pa.int32(), pa.string())),
        ("fetch_time", pa.timestamp("s")),
        ("fetch_time", pa.timestamp("us", tz="UTC")),
        ("warc_record_offset", pa.int32()),
    ],
)
def test_other_tools_types_of_the_same_values_are_read(path: str, column: str, kind: pa.DataType) -> None:
    pq.write_table(table(**{column: table()[column].cast(kind)}), path)
    (capture,) = read_captures(INPUTS, path, 0, wanted("https://a.example/7919"))
    assert capture == Capture("https://a.example/7919", MOMENT.replace(tzinfo=UTC), "x.warc.gz", 1, 1)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(path: str, column: str) -> None:
    pq.write_table(table().drop_columns([column]), path)
    with pytest.raises(UserError, match=rf"part-0\.parquet: no column '{column}'"):
        row_groups(INPUTS, path)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("warc_record_offset", pa.array(["far"] * ROWS)),
        ("url", pa.array(range(ROWS))),
        ("url", pa.array([b"u"] * ROWS)),
        ("fetch_time", pa.array([MOMENT.isoformat()] * ROWS)),
        ("warc_filename", pa.array([["a.warc.gz"]] * ROWS)),
    ],
)
def test_a_column_of_another_type_is_named(path: str, column: str, values: pa.Array) -> None:
    pq.write_table(table(**{column: values}), path)
    with pytest.raises(UserError, match=rf"part-0\.parquet: .*'{column}' .*cc-index-table"):
        row_groups(INPUTS, path)


def test_rows_that_lack_a_value_are_no_captures(path: str) -> None:
    urls, files = (table()[name].to_pylist() for name in ("url", "warc_filename"))
    urls[1] = None
    files[3] = None
    pq.write_table(table(url=pa.array(urls), warc_filename=pa.array(files)), path)
    given = wanted("", *(f"https://a.example/{number * 7919}" for number in range(5)))
    assert [capture.offset for capture in read_captures(INPUTS, path, 0, given)] == [0, 2, 4]


def test_times_that_no_calendar_has_are_no_captures(path: str) -> None:
    milliseconds = [2**62, -(2**62), 1556197074000, 253402300800000]
    times = pa.array(milliseconds + [0] * (ROWS - 4), pa.timestamp("ms"))
    pq.write_table(table(fetch_time=times), path)
    given = wanted(*(f"https://a.example/{number * 7919}" for number in range(4)))
    assert [capture.fetch_time for capture in read_captures(INPUTS, path, 0, given)] == [MOMENT.replace(tzinfo=UTC)]


def test_strings_that_are_no_utf_8_are_no_captures(path: str) -> None:
    raw = pa.array([b"\xff\xfe.warc.gz", b"y.warc.gz"] * (ROWS // 2))
    unchecked = pa.StringArray.from_buffers(ROWS, raw.buffers()[1], raw.buffers()[2])
    pq.write_table(table(warc_filename=unchecked), path)
    given = wanted("https://a.example/0", "https://a.example/7919")
    assert [capture.warc_filename for capture in read_captures(INPUTS, path, 0, given)] == ["y.warc.gz"]


def test_a_file_without_rows_has_no_captures(path: str) -> None:
    pq.write_table(table().slice(0, 0), path)
    assert sum(row_groups(INPUTS, path)) == 0


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet, but longer than a footer needs to be"])
def test_what_is_no_parquet_file_is_named(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
    with pytest.raises(UserError, match=r"part-0\.parquet: not a valid Parquet file"):
        row_groups(INPUTS, path)


def test_a_file_cut_short_is_named(path: str) -> None:
    pq.write_table(table(), path)
    Path(path).write_bytes(Path(path).read_bytes()[:-100])
    with pytest.raises(UserError, match=r"part-0\.parquet: not a valid Parquet file"):
        row_groups(INPUTS, path)


def test_a_corrupt_row_group_is_named_and_the_others_are_read(path: str) -> None:
    pq.write_table(table(), path, row_group_size=1000, compression="gzip", use_dictionary=False)
    group = pq.ParquetFile(path).metadata.row_group(1)
    start = group.column(group.num_columns - 1).data_page_offset
    damaged = bytearray(Path(path).read_bytes())
    damaged[start : start + 200] = b"\xff" * 200
    Path(path).write_bytes(damaged)
    assert len(list(read_captures(INPUTS, path, 0, wanted("https://a.example/7919")))) == 1
    with pytest.raises(UserError, match=r"part-0\.parquet: row group 1"):
        list(read_captures(INPUTS, path, 1, wanted("https://a.example/7919")))


@pytest.mark.parametrize("name", ["cc", "cc [2019]"])
def test_the_files_of_a_crawl_are_found(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "cc-index/table/cc-main/warc"
    for crawl in ("CC-MAIN-2019-18", "CC-MAIN-2020-05"):
        for subset in ("warc", "robotstxt"):
            for part in ("part-1.parquet", "part-0.parquet", "_SUCCESS"):
                file = folder / f"crawl={crawl}" / f"subset={subset}" / part
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
    parts = [str(folder / "crawl=CC-MAIN-2019-18/subset=warc" / f"part-{number}.parquet") for number in (0, 1)]
    assert index_files(INPUTS, str(tmp_path / name), "CC-MAIN-2019-18") == parts
    with pytest.raises(UserError, match=r"crawl=CC-MAIN-1999-01.*check --cc_root and --crawl"):
        index_files(INPUTS, str(tmp_path / name), "CC-MAIN-1999-01")


def test_the_list_of_files_is_believed_where_there_is_one(tmp_path: Path) -> None:
    listed = ["cc-index/table/x/subset=warc/b.parquet", "cc-index/table/x/subset=crawldiagnostics/a.parquet"]
    (tmp_path / "crawl-data/CC-MAIN-2019-18").mkdir(parents=True)
    content = gzip.compress("\n".join(listed).encode())
    (tmp_path / "crawl-data/CC-MAIN-2019-18/cc-index-table.paths.gz").write_bytes(content)
    assert index_files(INPUTS, str(tmp_path), "CC-MAIN-2019-18") == [f"{tmp_path}/{listed[0]}"]
