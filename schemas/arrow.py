"""Derives Arrow schemas and tables from the records' classes, so that the two can't differ.

Records are dataclasses, or msgspec Structs if billions of them are made.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import pyarrow as pa

Record = TypeVar("Record")
Float32 = Annotated[float, pa.float32()]  # similarities and probabilities
UInt64 = Annotated[int, pa.uint64()]  # perceptual hashes

_ROWS_AT_ONCE = 500  # as Python objects they take ten times as much memory as in a table

_PLAIN: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    datetime: pa.timestamp("ms", tz="UTC"),
}


def arrow_type(hint: Any) -> pa.DataType:
    """Return the Arrow type of a field's type hint; raises TypeError if records must not use that hint."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    if get_origin(hint) is Annotated:
        return get_args(hint)[1]
    if get_origin(hint) in (list, tuple):
        return pa.list_(arrow_type(get_args(hint)[0]))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return pa.string()
    if isinstance(hint, type) and _is_record(hint):
        return pa.struct(list(arrow_schema(hint)))
    raise TypeError(f"no Arrow type for {hint!r}")


def arrow_schema(record: type) -> pa.Schema:
    """Return the Arrow schema of a record's class; `X | None` becomes a nullable field of X."""
    columns = []
    for name, hint in get_type_hints(record, include_extras=True).items():
        optional = get_origin(hint) in (Union, UnionType)
        inner = next(arg for arg in get_args(hint) if arg is not NoneType) if optional else hint
        columns.append(pa.field(name, arrow_type(inner), nullable=optional))
    return pa.schema(columns)


def _is_record(hint: Any) -> bool:
    return is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, msgspec.Struct))


def to_table(records: Iterable[Any], record: type) -> pa.Table:
    """Return a table of records; without records it is empty, with the full schema."""
    return rows_to_table(records, arrow_schema(record))


def rows_to_table(rows: Iterable[Any], schema: pa.Schema) -> pa.Table:
    """Return a table of records or dictionaries that have the schema's columns."""
    rest, tables = iter(rows), [schema.empty_table()]
    while some := list(islice(rest, _ROWS_AT_ONCE)):
        plain = msgspec.to_builtins(some, builtin_types=(bytes, datetime))
        tables.append(pa.Table.from_pylist(plain, schema=schema))
    return pa.concat_tables(tables).combine_chunks()


def _reader(hint: Any) -> Callable[[Any], Any]:
    """Return a function that converts Arrow's value of a field to the record's value."""
    if get_origin(hint) in (Union, UnionType):
        inner = _reader(next(arg for arg in get_args(hint) if arg is not NoneType))
        return lambda value: None if value is None else inner(value)
    if get_origin(hint) in (list, tuple):
        item = _reader(get_args(hint)[0])
        return lambda values: [item(value) for value in values]
    if _is_record(hint):
        readers = {name: _reader(field) for name, field in get_type_hints(hint).items()}
        # A file of an earlier version lacks fields that a record within a record got later; these have defaults.
        return lambda row: hint(**{name: reader(row[name]) for name, reader in readers.items() if name in row})
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    return lambda value: value


def from_table(table: pa.Table, record: type[Record]) -> Iterator[Record]:
    """Yield the records of a table, batch by batch; raises KeyError if a column is missing."""
    reader = _reader(record)
    for name in arrow_schema(record).names:
        if name not in table.column_names:
            raise KeyError(name)
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            yield reader(row)
