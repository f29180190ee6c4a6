"""The size of a crawl: known for C4's, measured if a root is given."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmc4_pipeline.commoncrawl.index import COLUMNS, read_captures, row_groups
from mmc4_pipeline.commoncrawl.wanted import BloomFilter, WantedUrls, hashes_of
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.estimate.crawl_size import C4_CRAWL, crawl_size
from tests.mmc4_pipeline.file_server import INPUTS, FileServer

CRAWL = "CC-MAIN-2019-18"


def write_crawl(root: Path, files: int, *, listed: bool) -> None:
    """Write files of known sizes, and an index of two files with 7 rows each."""
    segment = f"crawl-data/{CRAWL}/segments/1"
    names = [f"{segment}/warc/{number:05d}.warc.gz" for number in range(files)]
    for name in names:
        for path, size in ((name, 300), (name.replace("/warc/", "/wat/").replace(".warc.gz", ".warc.wat.gz"), 100)):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(b"x" * size)
    if listed:
        paths = "".join(f"{name}\n" for name in names)
        (root / f"crawl-data/{CRAWL}/warc.paths.gz").write_bytes(gzip.compress(paths.encode()))
    index = root / f"cc-index/table/cc-main/warc/crawl={CRAWL}/subset=warc"
    index.mkdir(parents=True)
    for number in range(2):
        others = {"url_path": [f"/{row}" * 99 for row in range(7)]}  # a column that is not read
        columns = {name: [f"{name}-{row}" for row in range(7)] for name in COLUMNS} | others
        pq.write_table(pa.table(columns), index / f"{number}.parquet", row_group_size=4, compression="none")


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("files", [1, 3, 12])
def test_a_crawl_is_measured_on_some_of_its_files(tmp_path: Path, files: int, listed: bool) -> None:
    write_crawl(tmp_path, files, listed=listed)
    size = crawl_size(INPUTS, CRAWL, str(tmp_path))
    assert (size.files, size.pages, size.warc_bytes, size.wat_bytes) == (files, 14, 300 * files, 100 * files)


def test_only_the_index_columns_that_locate_reads_are_counted(tmp_path: Path) -> None:
    write_crawl(tmp_path, 1, listed=True)
    values = 2 * 7 * sum(len(f"{name}-0") for name in COLUMNS)
    size = crawl_size(INPUTS, CRAWL, str(tmp_path))
    assert values < size.index_bytes < 10 * values  # Parquet adds bytes of its own to such small values
    whole = sum(file.stat().st_size for file in tmp_path.rglob("*.parquet"))
    assert size.index_bytes < whole / 2


def test_the_estimated_index_requests_are_those_that_a_server_receives(
    tmp_path: Path, serve: Callable[[dict[str, bytes]], FileServer]
) -> None:
    write_crawl(tmp_path, 1, listed=True)
    rows, random = 60_000, np.random.default_rng(0)
    columns = {name: random.integers(2**62, size=rows) for name in COLUMNS}
    columns |= {name: [f"{number:x}" for number in columns[name]] for name in ("url", "warc_filename")}
    columns["fetch_time"] = (columns["fetch_time"] % 10**12).astype("datetime64[ms]")
    for path in tmp_path.rglob("*.parquet"):
        pq.write_table(pa.table(columns), path, row_group_size=rows // 2)
    server = serve({f"/{path.name}": path.read_bytes() for path in tmp_path.rglob("*.parquet")})
    wanted = WantedUrls({0: BloomFilter.of(hashes_of(pa.array(columns["url"][::7])), 0.01)}, 1)
    for name in server.files:
        url = server.address + name
        INPUTS.size(url)
        for group, _ in enumerate(row_groups(INPUTS, url)):
            assert list(read_captures(INPUTS, url, group, wanted))
    assert len(server.requests) == crawl_size(INPUTS, CRAWL, str(tmp_path)).index_requests


def test_the_size_of_c4_s_crawl_is_known_and_others_require_a_root() -> None:
    assert crawl_size(INPUTS, CRAWL, None) is C4_CRAWL
    with pytest.raises(UserError, match="--cc_root"):
        crawl_size(INPUTS, "CC-MAIN-2030-01", None)


def test_a_root_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--cc_root"):
        crawl_size(INPUTS, CRAWL, str(tmp_path))
