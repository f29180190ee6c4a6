"""Looks up the size of a crawl: published figures for C4's crawl, or measured on a few of its files."""

import gzip
from dataclasses import dataclass
from math import ceil
from statistics import mean

import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline.commoncrawl.by_wat import wat_filename
from mmc4_pipeline.commoncrawl.index import COLUMNS, index_files
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage import Inputs, join

_TIB = 1 << 40
_SAMPLE = 5  # files of each kind whose size is looked up; sizes differ by a few per cent
# HTTP requests for an index file: those that open it, and for each row group those that open it and read its columns.
_REQUESTS_OF_FILE, _REQUESTS_OF_GROUP = 3, 2 + len(COLUMNS)
_ROW_GROUP_BYTES = 128 << 20  # parquet-mr's default


@dataclass(frozen=True, slots=True)
class CrawlSize:
    """A crawl's number of pages and of WARC files (it has as many WAT files), the bytes of each kind, and their source.

    `index_bytes` is an upper bound of what locate reads from the columnar index, with `index_requests` requests.
    """

    name: str
    source: str
    pages: int
    files: int
    warc_bytes: int
    wat_bytes: int
    index_bytes: int
    index_requests: int


# Common Crawl's announcements give 2.5 billion pages in 56,000 files for this crawl. For the crawl two months earlier
# they give 2.9 billion pages in 59.86 TiB of WARC and 18.23 TiB of WAT files; both crawls are assumed to have the same
# bytes per page. This crawl's index has 0.26 TiB in 300 files. Locate reads five of its roughly thirty columns,
# including the longest.
C4_CRAWL = CrawlSize(
    name="CC-MAIN-2019-18",
    source="Common Crawl's announcements; use --cc_root to measure it",
    pages=2_500_000_000,
    files=56_000,
    warc_bytes=int(59.86 * _TIB * 2.5 / 2.9),
    wat_bytes=int(18.23 * _TIB * 2.5 / 2.9),
    index_bytes=int(0.26 * _TIB),
    index_requests=300 * _REQUESTS_OF_FILE + ceil(0.26 * _TIB / _ROW_GROUP_BYTES) * _REQUESTS_OF_GROUP,
)


def crawl_size(inputs: Inputs, crawl: str, cc_root: str | None) -> CrawlSize:
    """Return a crawl's size. Without `cc_root`, raises UserError unless it is C4's crawl."""
    if cc_root:
        return _measured(inputs, crawl, cc_root)
    if crawl == C4_CRAWL.name:
        return C4_CRAWL
    raise UserError(
        f"--crawl {crawl}: published sizes are known for C4's crawl only; add --cc_root to measure this one"
    )


def _measured(inputs: Inputs, crawl: str, cc_root: str) -> CrawlSize:
    listed = join(cc_root, f"crawl-data/{crawl}/warc.paths.gz")
    if inputs.exists(listed):
        names = gzip.decompress(inputs.read_bytes(listed)).decode().split()
    else:
        found = inputs.matches_below(cc_root, f"crawl-data/{crawl}/segments/*/warc/*.warc.gz")
        names = [path[path.rindex("crawl-data/") :] for path in found]
    if not names:
        raise UserError(f"{listed}: not found, and there are no WARC files; check --cc_root and --crawl")
    sampled = _spread(names)
    warc, wat = (
        len(names) * mean(inputs.size(join(cc_root, name)) for name in paths)
        for paths in (sampled, [wat_filename(name) for name in sampled])
    )
    index = index_files(inputs, cc_root, crawl)
    footers = [_footer(inputs, path) for path in _spread(index)]
    pages, read, requests = (
        round(len(index) * mean(figure(footer) for footer in footers))
        for figure in (lambda footer: footer.num_rows, _bytes_read, _requests)
    )
    source = f"{len(sampled)} of the {len(names):,} WARC files of {cc_root}"
    return CrawlSize(crawl, source, pages, len(names), round(warc), round(wat), read, requests)


def _spread(paths: list[str]) -> list[str]:
    """Return a few of the paths, evenly spread from the first to the last."""
    paths = sorted(paths)
    step = max(1, (len(paths) - 1) // max(1, _SAMPLE - 1))
    return paths[::step][:_SAMPLE]


def _footer(inputs: Inputs, path: str) -> pq.FileMetaData:
    return pq.read_metadata(pa.PythonFile(inputs.open_read(path), mode="r"))


def _bytes_read(footer: pq.FileMetaData) -> int:
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    return sum(int(column.total_compressed_size) for column in columns if column.path_in_schema in COLUMNS)


def _requests(footer: pq.FileMetaData) -> int:
    return _REQUESTS_OF_FILE + int(footer.num_row_groups) * _REQUESTS_OF_GROUP
