"""Reads Common Crawl's columnar index: Parquet files, one row a capture (cc-index-table)."""

import gzip
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
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
COLUMNS = _SCHEMA.names


def index_files(cc_root: str, crawl: str) -> list[str]:
    """Give the index files of a crawl, sorted; raises UserError where there are none.

    Common Crawl lists them in cc-index-table.paths.gz; a folder without that list is searched.
    """
    paths = storage.join(cc_root, f"crawl-data/{crawl}/cc-index-table.paths.gz")
    if storage.exists(paths):
        listed = gzip.decompress(storage.read_bytes(paths)).decode().split()
        return sorted(storage.join(cc_root, path) for path in listed if "/subset=warc/" in path)
    pattern = f"cc-index/table/cc-main/warc/crawl={crawl}/subset=warc/*.parquet"
    files = storage.matches_below(cc_root, pattern)
    if not files:
        message = f"{storage.join(cc_root, pattern)}: no index files; check --cc_root and --crawl"
        raise UserError(message)
    return files


def row_groups(path: str) -> int:
    """Give the number of row groups; raises UserError where the file is no Parquet or lacks a column."""
    try:
        metadata = pq.read_metadata(pa.PythonFile(storage.open_read(path), mode="r"))
    except pa.ArrowException as error:
        message = f"{path}: no Parquet file ({str(error).splitlines()[0]}); download it again"
        raise UserError(message) from error
    missing = [name for name in COLUMNS if name not in metadata.schema.to_arrow_schema().names]
    if missing:
        message = f"{path}: the index lacks the column {missing[0]!r}; the columnar index has {', '.join(COLUMNS)}"
        raise UserError(message)
    return int(metadata.num_row_groups)


def read_captures(path: str, row_group: int, wanted: pa.Array) -> Iterator[Capture]:
    """Yield the captures of a row group whose URL is among the wanted ones."""
    with storage.open_read(path) as stream:
        try:
            table = pq.ParquetFile(stream).read_row_group(row_group, columns=COLUMNS).select(COLUMNS).cast(_SCHEMA)
        except (pa.ArrowException, OSError) as error:
            why = str(error).splitlines()[0]
            message = f"{path}: row group {row_group} is no index or corrupt ({why}); download the file again"
            raise UserError(message) from error
    for row in table.filter(pc.is_in(table["url"], value_set=wanted)).to_pylist():
        yield Capture(
            url=row["url"],
            fetch_time=row["fetch_time"],
            warc_filename=row["warc_filename"],
            offset=row["warc_record_offset"],
            length=row["warc_record_length"],
        )
