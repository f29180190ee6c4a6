"""Reads other people's Parquet files: what their footers say, and strings that their writers did not check."""

import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage.reading import open_read


def footer(path: str) -> tuple[pq.FileMetaData, pa.Schema]:
    """Give a file's metadata and its columns; raises UserError where it is no Parquet file or cut short."""
    try:
        with open_read(path) as stream:
            metadata = pq.read_metadata(pa.PythonFile(stream, mode="r"))
        return metadata, metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        message = f"{path}: no Parquet file ({str(error).splitlines()[0]}); download it again"
        raise UserError(message) from error


def holds_text(kind: pa.DataType) -> bool:
    """Tell whether a column's type is one of the kinds of string, dictionary-encoded or not."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def texts(column: pa.Array) -> list[str | None]:
    """Give the strings of a column of any kind of string; None for a null and for what is no UTF-8."""
    return [_decoded(value) for value in column.cast(pa.large_string()).cast(pa.large_binary()).to_pylist()]


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
