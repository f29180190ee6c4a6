"""Read C4 documents: allenai/c4's JSON lines (plain, gzip or zstd), and Parquet with the same three columns.

Other names of the columns are given, not guessed (`DocumentFields`). A document is identified by its file and its line
or row, counted from 1.
"""

import codecs
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.naming import document_key
from mmc4_pipeline.storage import Inputs
from mmc4_pipeline.storage.foreign_parquet import footer, holds_text, texts
from schemas.document import Document, DocumentReference, RejectedDocument
from schemas.reasons import Reason

_SURROGATE = re.compile("[\ud800-\udfff]")
# A surrogate in a line: as JSON escapes it, or as three bytes that look like UTF-8.
_SURROGATE_OF_LINE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROWS_AT_ONCE = 1000  # of a Parquet file: texts are large
_SAMPLE = 1 << 18  # bytes of a file of lines that are inspected before the run
_BYTES_PER_DOCUMENT = 900  # of allenai/c4, compressed: used if the sample has no complete line


@dataclass(frozen=True, slots=True)
class DocumentFields:
    """The names of a document's fields in the files. The defaults are those of allenai/c4 and mC4."""

    text: str = "text"
    url: str = "url"
    timestamp: str = "timestamp"


def parse_fields(pairs: list[str]) -> DocumentFields:
    """Read pairs such as "text=content"; raises UserError for a name that is not a field of a document."""
    names = [item.name for item in fields(DocumentFields)]
    chosen = {}
    for pair in pairs:
        name, _, column = pair.partition("=")
        if name not in names or not column:
            raise UserError(f"--c4_fields {pair}: must be NAME=COLUMN, where NAME is one of {', '.join(names)}")
        chosen[name] = column
    return DocumentFields(**chosen)


def document_files(inputs: Inputs, patterns: list[str]) -> list[str]:
    """Return the C4 files that match the patterns, sorted; raises UserError for a pattern without a match."""
    found: list[str] = []
    for pattern in patterns:
        files = inputs.matches(pattern)
        if not files:
            raise UserError(f"--c4 {pattern}: no such file; give a file, or a glob pattern in quotes")
        found += files
    return sorted(set(found))


def inspect(inputs: Inputs, path: str, names: DocumentFields) -> tuple[int, int]:
    """Return a file's size in bytes and its approximate number of documents, from its beginning or its footer.

    Raises UserError if a field is missing, so that this is found before the run; the message lists the file's fields.
    """
    size = inputs.size(path)
    if path.endswith(".parquet"):
        return size, _rows_of(inputs, path, names)
    read, lines = _sample(inputs, path, size)
    objects = [item for item in map(_json, lines) if isinstance(item, dict)]
    found = dict.fromkeys(key for item in objects for key in item)
    for name in asdict(names).values():
        if found and name not in found:
            raise _missing_field(path, name, list(found))
    return size, round(size * len(lines) / read) if lines else size // _BYTES_PER_DOCUMENT


def _rows_of(inputs: Inputs, path: str, names: DocumentFields) -> int:
    metadata, columns = footer(inputs, path)
    for name, column in asdict(names).items():
        if column not in columns.names:
            raise _missing_field(path, column, columns.names)
        kind = columns.field(column).type
        if not holds_text(kind) and not (name == "timestamp" and pa.types.is_timestamp(kind)):
            raise UserError(f"{path}: the column {column!r} is {kind}, not a {name}; name another with --c4_fields")
    return int(metadata.num_rows)


def _missing_field(path: str, name: str, found: list[str]) -> UserError:
    return UserError(
        f"{path}: no field {name!r} (found: {', '.join(found)}); "
        "map the fields, as in --c4_fields text=content url=uri timestamp=date"
    )


def _sample(inputs: Inputs, path: str, size: int) -> tuple[int, list[bytes]]:
    """Return how many bytes of a file's beginning were read, and the complete lines in them."""
    head = inputs.read_range(path, 0, min(size, _SAMPLE)) if size else b""
    try:
        with _decompressed(path, io.BytesIO(head)) as stream:
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


def read_documents(
    inputs: Inputs, path: str, names: DocumentFields = DocumentFields()
) -> Iterator[tuple[str, Document | RejectedDocument]]:
    """Yield each document's "path:line" and the document, or why it is invalid.

    Raises UserError if the file is truncated or corrupt; the message has the last line that could be read.
    """
    for number, row in _rows(inputs, path, names, ("url", "timestamp", "text")):
        source = f"{path}:{number}"
        yield source, _document(row, source)


def read_references(
    inputs: Inputs, path: str, names: DocumentFields = DocumentFields()
) -> Iterator[tuple[int, DocumentReference | RejectedDocument]]:
    """Yield each document's line and a reference to it, or why it is invalid; raises the errors of `read_documents`.

    Texts are not read if the format allows that, so that a Parquet row without a text is noticed only later.
    """
    wanted = ("url", "timestamp") if path.endswith(".parquet") else ("url", "timestamp", "text")
    for number, row in _rows(inputs, path, names, wanted):
        source = f"{path}:{number}"
        found = _document(row, source)
        if isinstance(found, Document):
            yield number, DocumentReference(found.key, found.url, found.timestamp, source)
        else:
            yield number, found


def _rows(
    inputs: Inputs, path: str, names: DocumentFields, wanted: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield each row's number and its wanted values by our names, or why it is invalid."""
    columns = {name: column for name, column in asdict(names).items() if name in wanted}
    parquet = path.endswith(".parquet")
    read, open_file = (_parquet_rows, inputs.open_read) if parquet else (_lines, inputs.open_stream)
    number = 0
    try:
        with open_file(path) as raw:
            for number, row in enumerate(read(path, raw, columns), start=1):
                yield number, row
    except (EOFError, OSError, zlib.error, pa.ArrowException) as error:
        what = "row" if parquet else "line"
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: truncated or corrupt after {what} {number} ({why}); download it again") from error


def _lines(path: str, raw: BinaryIO, columns: dict[str, str]) -> Iterator[dict[str, Any] | str]:
    with _decompressed(path, raw) as stream:
        for line in stream:
            row = _json(line)
            if isinstance(row, dict):
                yield {name: row.get(column) for name, column in columns.items()}
            else:
                yield row if isinstance(row, str) else "not a JSON object"


def _json(line: bytes) -> Any:
    """Return the JSON object in a line, None for another JSON value, or a string with the error for invalid JSON.

    A byte order mark before it is ignored, and a lone surrogate, which is not a character, becomes U+FFFD.
    """
    try:
        value = orjson.loads(line.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        value = _with_surrogates(line) if _SURROGATE_OF_LINE.search(line) else None
        if value is None:
            return f"not valid JSON: {error}"
    return value if isinstance(value, dict) else None


def _with_surrogates(line: bytes) -> Any:
    """Return the JSON value of a line in which lone surrogates are allowed; None if the line is invalid even so."""
    try:
        value = json.loads(line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return {key: _SURROGATE.sub("\ufffd", item) if isinstance(item, str) else item for key, item in value.items()}


@contextmanager
def _decompressed(path: str, raw: BinaryIO) -> Iterator[BinaryIO | io.BufferedIOBase]:
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
        values = [_values(batch.column(column)) for column in columns.values()]
        for row in zip(*values, strict=True):
            yield dict(zip(columns, row, strict=True))


def _values(column: pa.Array) -> list[Any]:
    if not pa.types.is_timestamp(column.type):
        return texts(column)
    return [_moment(seconds) for seconds in column.cast(pa.timestamp("s"), safe=False).cast(pa.int64()).to_pylist()]


def _moment(seconds: int | None) -> datetime | None:
    try:
        return None if seconds is None else _EPOCH + timedelta(seconds=seconds)
    except OverflowError:  # a year that Python does not have
        return None


def _document(row: dict[str, Any] | str, source: str) -> Document | RejectedDocument:
    if isinstance(row, str):
        return _rejected("", source, row)
    url, timestamp = row["url"], row["timestamp"]
    for name, value in row.items():
        if not isinstance(value, str) and not (name == "timestamp" and isinstance(value, datetime)):
            return _rejected(url if isinstance(url, str) else "", source, f"field {name!r} is missing or not a string")
    moment = timestamp if isinstance(timestamp, datetime) else _parsed(timestamp)
    if moment is None:
        return _rejected(url, source, f"timestamp {timestamp!r} is not an ISO 8601 time")
    return Document(document_key(url, moment), url, moment, row.get("text", ""))


def _parsed(value: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # OverflowError: in UTC the time is in the year 0 or 10000
        return None


def _rejected(url: str, source: str, detail: str) -> RejectedDocument:
    return RejectedDocument(key="", url=url, source=source, reason=Reason.INVALID_DOCUMENT.value, detail=detail)
