"""How large a crawl is: known for the crawl of C4, measured on a few of its files where they can be reached."""

import gzip
from dataclasses import dataclass
from statistics import mean

import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline import storage
from mmc4_pipeline.commoncrawl.index import index_files
from mmc4_pipeline.commoncrawl.wat import wat_filename
from mmc4_pipeline.errors import UserError

_TIB = 1 << 40
_SAMPLE = 5  # files of each kind whose size is looked up: they differ by a few per cent


@dataclass(frozen=True, slots=True)
class CrawlSize:
    """A crawl's captured pages, its WARC files (as many WAT files), the bytes of each kind, and where that is from."""

    name: str
    source: str
    pages: int
    files: int
    warc_bytes: int
    wat_bytes: int


# Common Crawl's announcements give 2.5 billion pages in 56,000 files for this crawl, and for the one two months before
# 2.9 billion pages in 59.86 TiB of WARC and 18.23 TiB of WAT files: its bytes a page are taken for both.
C4_CRAWL = CrawlSize(
    name="CC-MAIN-2019-18",
    source="Common Crawl's announcements; --cc_root measures it",
    pages=2_500_000_000,
    files=56_000,
    warc_bytes=int(59.86 * _TIB * 2.5 / 2.9),
    wat_bytes=int(18.23 * _TIB * 2.5 / 2.9),
)


def crawl_size(crawl: str, cc_root: str | None) -> CrawlSize:
    """Give a crawl's size; raises UserError for another crawl than C4's that can't be reached."""
    if cc_root:
        return _measured(crawl, cc_root)
    if crawl == C4_CRAWL.name:
        return C4_CRAWL
    message = f"--crawl {crawl}: its size is not known here; give --cc_root, so that it can be measured"
    raise UserError(message)


def _measured(crawl: str, cc_root: str) -> CrawlSize:
    listed = storage.join(cc_root, f"crawl-data/{crawl}/warc.paths.gz")
    if storage.exists(listed):
        names = gzip.decompress(storage.read_bytes(listed)).decode().split()
    else:
        found = storage.matches_below(cc_root, f"crawl-data/{crawl}/segments/*/warc/*.warc.gz")
        names = [path[path.rindex("crawl-data/") :] for path in found]
    if not names:
        message = f"{listed}: not there, nor any WARC files; check --cc_root and --crawl"
        raise UserError(message)
    sampled = _spread(names)
    warc, wat = (
        len(names) * mean(storage.size(storage.join(cc_root, name)) for name in paths)
        for paths in (sampled, [wat_filename(name) for name in sampled])
    )
    index = index_files(cc_root, crawl)
    pages = len(index) * mean(_rows(path) for path in _spread(index))
    source = f"{len(sampled)} of the {len(names):,} WARC files of {cc_root}"
    return CrawlSize(crawl, source, round(pages), len(names), round(warc), round(wat))


def _spread(paths: list[str]) -> list[str]:
    """Give a few of the paths, from the first to the last."""
    paths = sorted(paths)
    step = max(1, (len(paths) - 1) // max(1, _SAMPLE - 1))
    return paths[::step][:_SAMPLE]


def _rows(path: str) -> int:
    return int(pq.read_metadata(pa.PythonFile(storage.open_read(path), mode="r")).num_rows)
