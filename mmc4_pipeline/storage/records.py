"""Read and write the run's own Parquet and JSON files."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import msgspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage.paths import is_local
from mmc4_pipeline.storage.reading import exists, open_read, read_bytes
from mmc4_pipeline.storage.writing import HashingWriter, write_atomically, write_bytes, written
from schemas.arrow import arrow_schema, from_table, to_table
from schemas.manifest import WrittenFile, decode

Record = TypeVar("Record")
Parsed = TypeVar("Parsed")


def read_json(path: str, record: Any = Any) -> Any:
    """Read a JSON file, as a record if one is given. Raises UserError if it is missing, invalid or another record."""
    return parse_json(path, read_bytes(path), lambda data: decode(data, record))


def parse_json(path: str, data: bytes, parse: Callable[[bytes], Parsed]) -> Parsed:
    """Parse the content of a JSON file; raises UserError, which names the file and the field, if it is invalid."""
    try:
        return parse(data)
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: {error}; remove it and run its stage again") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); remove it and run its stage again") from error


def is_whole_json(path: str) -> bool:
    """Return whether a JSON file exists and was written completely: a power loss can leave a file empty or cut short.

    An object store has a file completely or not at all, so its content is not read.
    """
    if not exists(path):
        return False
    if not is_local(path):
        return True
    try:
        orjson.loads(read_bytes(path))
    except orjson.JSONDecodeError:
        return False
    return True


def write_json(path: str, value: Any) -> WrittenFile:
    """Write a JSON file, indented so that people can read it too."""
    return write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return the bytes that `write_json` writes."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, default=msgspec.to_builtins, option=options) + b"\n"


def write_records(path: str, records: Iterable[Any], record: type) -> WrittenFile:
    """Write records of one type as Parquet; the same records produce the same bytes."""
    with write_atomically(path) as writer:
        write_table(writer, records, record)
    return written(path, writer)


def write_table(writer: HashingWriter, records: Iterable[Any], record: type) -> None:
    """Write records to an open file in the same format as `write_records`."""
    pq.write_table(to_table(records, record), pa.PythonFile(writer, mode="w"), compression="zstd")


def read_records(path: str, record: type[Record]) -> Iterator[Record]:
    """Yield the records of a Parquet file that this program wrote; raises UserError if it has other contents."""
    try:
        table = pq.read_table(pa.PythonFile(open_read(path), mode="r"), columns=arrow_schema(record).names)
    except (pa.ArrowException, OSError) as error:  # pyarrow raises OSError for damaged pages
        why = str(error).splitlines()[0]
        raise UserError(f"{path}: not readable as {record.__name__} records ({why}); run its stage again") from error
    try:
        yield from from_table(table, record)
    except KeyError as error:
        raise UserError(
            f"{path}: has no column {error.args[0]}: an earlier version wrote this file; run its stage again"
        ) from error


def distinct(path: str, column: str) -> set[str]:
    """Return the distinct values of a text column of a Parquet file of ours. No other column is read."""
    with open_read(path) as stream:
        table = pq.read_table(pa.PythonFile(stream, mode="r"), columns=[column], read_dictionary=[column])
    return set(table[column].unique().to_pylist())
