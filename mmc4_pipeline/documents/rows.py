"""Read the rows of a file of documents: JSON lines (plain, gzip or zstd) or Parquet."""

import codecs
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmc4_pipeline.documents.fields import DocumentFields
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage import Inputs
from mmc4_pipeline.storage.foreign_parquet import texts

_SURROGATE = re.compile("[\ud800-\udfff]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROWS_AT_ONCE = 1000  # of a Parquet file: texts are large
_SAMPLE = 1 << 18  # bytes of a file of lines that are inspected before the run


def read_rows(
    inputs: Inputs, path: str, names: DocumentFields, wanted: tuple[str, ...], first: int | None = None
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield each row's number and its wanted values by our names, or why it is invalid; only the `first` rows if given.

    Raises UserError if the file is truncated or corrupt; the message has the last line that could be read.
    """
    columns = {name: column for name, column in names.named().items() if name in wanted}
    parquet = is_parquet(path)
    read = _parquet_rows if parquet else _lines
    open_lines = inputs.open_stream if first is None else inputs.open_beginning
    open_file = inputs.open_read if parquet else open_lines
    number = 0
    try:
        with open_file(path) as raw:
            for number, row in enumerate(islice(read(path, raw, columns), first), start=1):
                yield number, row
    except (EOFError, OSError, zlib.error, pa.ArrowException) as error:
        what = "row" if parquet else "line"
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: truncated or corrupt after {what} {number} ({why}); download it again") from error


def is_parquet(path: str) -> bool:
    """Return whether a file is Parquet, by its name; all others have JSON lines."""
    return path.endswith(".parquet")


def _lines(path: str, raw: BinaryIO, columns: dict[str, str]) -> Iterator[dict[str, Any] | str]:
    with decompressed(path, raw) as stream:
        for line in stream:
            row = as_object(line)
            if isinstance(row, dict):
                yield {name: field_of(row, column) for name, column in columns.items()}
            else:
                yield row if isinstance(row, str) else "not a JSON object"


def field_of(row: dict[str, Any], name: str) -> Any:
    """Return the value of a field, into which dots may lead; None if it is missing."""
    if name in row or "." not in name:
        return row.get(name)
    top, _, below = name.partition(".")
    return field_of(row[top], below) if isinstance(row.get(top), dict) else None


def as_object(line: bytes) -> Any:
    """Return the JSON object in a line, None for another JSON value, or a string with the error for invalid JSON.

    A byte order mark before it is ignored, and a lone surrogate, which is not a character, becomes U+FFFD. As in
    Python's json, NaN and numbers of any size are allowed, and control characters in texts too.
    """
    try:
        value = orjson.loads(line.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        value = _leniently(line)
        if value is None:
            return f"not valid JSON: {error}"
    return value if isinstance(value, dict) else None


def _leniently(line: bytes) -> Any:
    """Return the JSON object in a line that is not strictly JSON; None if there is none even so."""
    try:
        value = json.loads(line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogatepass"), strict=False)
        return _without_surrogates(value) if isinstance(value, dict) else None
    except (ValueError, RecursionError):
        return None


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


@contextmanager
def decompressed(path: str, raw: BinaryIO) -> Iterator[BinaryIO | io.BufferedIOBase]:
    """Open the content of a file that its name says to be gzip or zstd, or else not compressed."""
    if path.endswith(".gz"):
        with gzip.GzipFile(fileobj=raw) as stream:
            yield stream
    elif path.endswith(".zst"):  # Arrow's reader, because it notices a truncated file
        with (
            pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd") as stream,
            io.BufferedReader(stream) as lines,
        ):
            yield lines
    else:
        yield raw


def _parquet_rows(_: str, raw: BinaryIO, columns: dict[str, str]) -> Iterator[dict[str, Any] | str]:
    file = pq.ParquetFile(raw, buffer_size=1 << 20)
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(columns.values())):
        values = [_values(_column(batch, column)) for column in columns.values()]
        for row in zip(*values, strict=True):
            yield dict(zip(columns, row, strict=True))


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name in batch.schema.names:
        return batch.column(name)
    top, *below = name.split(".")
    return pc.struct_field(batch.column(top), below)


def _values(column: pa.Array) -> list[Any]:
    if not pa.types.is_timestamp(column.type):
        return texts(column)
    return [_moment(seconds) for seconds in column.cast(pa.timestamp("s"), safe=False).cast(pa.int64()).to_pylist()]


def _moment(seconds: int | None) -> datetime | None:
    try:
        return None if seconds is None else _EPOCH + timedelta(seconds=seconds)
    except OverflowError:  # a year that Python does not have
        return None


def first_lines(inputs: Inputs, path: str, size: int) -> tuple[int, list[bytes]]:
    """Return how many bytes of a file's beginning were read, and the complete lines in them."""
    head = inputs.read_range(path, 0, min(size, _SAMPLE)) if size else b""
    try:
        with decompressed(path, io.BytesIO(head)) as stream:
            content = b"".join(iter(lambda: _read_some(stream), b""))
    except (OSError, EOFError, zlib.error):  # reading the file will report what is wrong with it, and where
        content = b""
    lines = content.split(b"\n")
    return len(head), lines[:-1] if len(head) < size else [line for line in lines if line]


def _read_some(stream: BinaryIO | io.BufferedIOBase) -> bytes:
    """Read some bytes; none where the available part of a compressed file ends."""
    try:
        return stream.read(1 << 16)
    except (OSError, EOFError, zlib.error):
        return b""
