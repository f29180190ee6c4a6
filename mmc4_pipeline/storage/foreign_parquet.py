"""Read Parquet files that other programs wrote: their footers, and strings that may not be valid UTF-8."""

import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage.reading import Inputs


def footer(inputs: Inputs, path: str) -> tuple[pq.FileMetaData, pa.Schema]:
    """Return a file's metadata and its columns; raises UserError if it is truncated or not a Parquet file."""
    try:
        with inputs.open_read(path) as stream:
            metadata = pq.read_metadata(pa.PythonFile(stream, mode="r"))
        return metadata, metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"{path}: not a valid Parquet file ({why}); download it again") from error


def holds_text(kind: pa.DataType) -> bool:
    """Return whether a column's type is one of the string types, dictionary-encoded or not."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def texts(column: pa.Array) -> list[str | None]:
    """Return the strings of a column of any string type; None for null and for a value that is not valid UTF-8."""
    return [_decoded(value) for value in column.cast(pa.large_string()).cast(pa.large_binary()).to_pylist()]


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
