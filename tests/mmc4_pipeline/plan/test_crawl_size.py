"""How large a crawl is said to be: known for C4's, measured where there is a root."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.plan.crawl_size import C4_CRAWL, crawl_size

CRAWL = "CC-MAIN-2019-18"


def write_crawl(root: Path, files: int, *, listed: bool) -> None:
    """Write files of known sizes, and an index of 7 rows a file in two files."""
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
        pq.write_table(pa.table({"url": ["u"] * 7}), index / f"{number}.parquet")


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("files", [1, 3, 12])
def test_a_crawl_is_measured_on_some_of_its_files(tmp_path: Path, files: int, listed: bool) -> None:  # noqa: FBT001
    write_crawl(tmp_path, files, listed=listed)
    size = crawl_size(CRAWL, str(tmp_path))
    assert (size.files, size.pages, size.warc_bytes, size.wat_bytes) == (files, 14, 300 * files, 100 * files)


def test_the_crawl_of_c4_is_known_and_others_are_asked_for() -> None:
    assert crawl_size(CRAWL, None) is C4_CRAWL
    with pytest.raises(UserError, match="--cc_root"):
        crawl_size("CC-MAIN-2030-01", None)


def test_a_root_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--cc_root"):
        crawl_size(CRAWL, str(tmp_path))
