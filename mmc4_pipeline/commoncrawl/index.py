"""Read Common Crawl's columnar index: Parquet files with one row per capture (cc-index-table)."""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmc4_pipeline.commoncrawl.wanted import WantedUrls
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage import Inputs, join
from mmc4_pipeline.storage.foreign_parquet import footer, holds_text, texts
from schemas.capture import Capture

_SCHEMA = pa.schema(
    {
        "url": pa.string(),
        "fetch_time": pa.timestamp("ms", tz="UTC"),
        "warc_filename": pa.string(),
        "warc_record_offset": pa.int64(),
        "warc_record_length": pa.int64(),
    }
)
COLUMNS = _SCHEMA.names  # the URL first, in the order of Capture's fields
# Times that Python's datetime cannot hold, in any time zone, count as missing.
_FIRST, _LAST = (pa.scalar(datetime(year, 1, 1, tzinfo=UTC), _SCHEMA.field("fetch_time").type) for year in (1, 9999))
_ROWS_AT_ONCE = 1 << 17  # some 10 MB of URLs


def index_files(inputs: Inputs, cc_root: str, crawl: str) -> list[str]:
    """Return the index files of a crawl, sorted; raises UserError if there are none.

    Common Crawl lists them in cc-index-table.paths.gz; a folder without that list is searched.
    """
    paths = join(cc_root, f"crawl-data/{crawl}/cc-index-table.paths.gz")
    if inputs.exists(paths):
        listed = gzip.decompress(inputs.read_bytes(paths)).decode().split()
        return sorted(join(cc_root, path) for path in listed if "/subset=warc/" in path)
    pattern = f"cc-index/table/cc-main/warc/crawl={crawl}/subset=warc/*.parquet"
    files = inputs.matches_below(cc_root, pattern)
    if not files:
        raise UserError(f"{join(cc_root, pattern)}: no index files; check --cc_root and --crawl")
    return files


def row_groups(inputs: Inputs, path: str) -> list[int]:
    """Return the number of rows of each row group.

    Raises UserError if the file is not a Parquet file, or lacks a column, or has one of another type.
    """
    metadata, columns = footer(inputs, path)
    for name in COLUMNS:
        if name not in columns.names:
            raise UserError(f"{path}: no column {name!r}; Common Crawl's columnar index has {', '.join(COLUMNS)}")
        kind = columns.field(name).type
        if not _fits(kind, _SCHEMA.field(name).type):
            wanted = _SCHEMA.field(name).type
            raise UserError(f"{path}: the column {name!r} is {kind}, not {wanted}; check that it is cc-index-table")
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def _fits(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether a column has the wanted kind of type, in any width."""
    return any(check(kind) and check(wanted) for check in (holds_text, pa.types.is_timestamp, pa.types.is_integer))


def read_captures(inputs: Inputs, path: str, row_group: int, wanted: WantedUrls) -> Iterator[Capture]:
    """Yield the captures of a row group whose URL is wanted, and a few others.

    A row that lacks a value, or has an impossible time, is skipped. Columns are read one after the other in batches of
    rows, the URLs first and the others only if some URL of the row group is wanted.
    Raises UserError if the row group is damaged.
    """
    with inputs.open_read(path) as stream:
        try:
            rows = _read(pq.ParquetFile(stream), row_group, wanted)
        except (pa.ArrowException, OSError) as error:
            why = str(error).splitlines()[0]
            raise UserError(f"{path}: row group {row_group} is corrupt ({why}); download the file again") from error
    pa.default_memory_pool().release_unused()  # the next row group may be read much later, by another thread
    yield from rows


def _read(file: pq.ParquetFile, row_group: int, wanted: WantedUrls) -> list[Capture]:
    hits: list[NDArray[np.bool_]] = []
    urls: list[Any] = []
    for batch in _batches(file, row_group, "url"):
        hits.append(wanted.among(batch))
        urls += _values(batch, hits[-1])
    if not urls:
        return []
    others = [_column(file, row_group, name, np.concatenate(hits)) for name in COLUMNS if name != "url"]
    return [Capture(*row) for row in zip(urls, *others, strict=True) if None not in row]


def _column(file: pq.ParquetFile, row_group: int, name: str, hits: NDArray[np.bool_]) -> list[Any]:
    values: list[Any] = []
    start = 0
    for batch in _batches(file, row_group, name):
        values += _values(batch, hits[start : start + len(batch)])
        start += len(batch)
    return values


def _values(batch: pa.Array, hits: NDArray[np.bool_]) -> list[Any]:
    kept = batch.filter(pa.array(hits))
    if pa.types.is_timestamp(kept.type):
        kept = pc.if_else(pc.and_(pc.greater_equal(kept, _FIRST), pc.less_equal(kept, _LAST)), kept, None)
    return texts(kept) if holds_text(kept.type) else kept.to_pylist()


def _batches(file: pq.ParquetFile, row_group: int, column: str) -> Iterator[pa.Array]:
    for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[row_group], columns=[column]):
        yield batch.column(0).cast(_SCHEMA.field(column).type)
