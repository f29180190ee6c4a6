"""Arrow schemas and tables that follow from the records' classes, so that neither can drift from the other.

Records are dataclasses, or msgspec Structs where they are made by the billion.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from datetime import datetime
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import pyarrow as pa

Record = TypeVar("Record")
Float32 = Annotated[float, pa.float32()]  # similarities and probabilities
UInt64 = Annotated[int, pa.uint64()]  # perceptual hashes

_PLAIN: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    datetime: pa.timestamp("ms", tz="UTC"),
}


def arrow_type(hint: Any) -> pa.DataType:
    """Give the Arrow type of a field's type hint; raises TypeError for one that records must not use."""
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
    message = f"no Arrow type for {hint!r}"
    raise TypeError(message)


def arrow_schema(record: type) -> pa.Schema:
    """Give the Arrow schema of a record's class; `X | None` becomes a nullable field of X."""
    columns = []
    for name, hint in get_type_hints(record, include_extras=True).items():
        optional = get_origin(hint) in (Union, UnionType)
        inner = next(arg for arg in get_args(hint) if arg is not NoneType) if optional else hint
        columns.append(pa.field(name, arrow_type(inner), nullable=optional))
    return pa.schema(columns)


def _is_record(hint: Any) -> bool:
    return is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, msgspec.Struct))


def to_table(records: Iterable[Any], record: type) -> pa.Table:
    """Make a table of records; an empty iterable gives an empty table with the full schema."""
    rows = msgspec.to_builtins(list(records), builtin_types=(bytes, datetime))
    return pa.Table.from_pylist(rows, schema=arrow_schema(record))


def _reader(hint: Any) -> Callable[[Any], Any]:
    """Give a function that turns what Arrow gives for a field back into what the record holds."""
    if get_origin(hint) in (Union, UnionType):
        inner = _reader(next(arg for arg in get_args(hint) if arg is not NoneType))
        return lambda value: None if value is None else inner(value)
    if get_origin(hint) in (list, tuple):
        item = _reader(get_args(hint)[0])
        return lambda values: [item(value) for value in values]
    if _is_record(hint):
        readers = {name: _reader(field) for name, field in get_type_hints(hint).items()}
        return lambda row: hint(**{name: reader(row[name]) for name, reader in readers.items()})
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    return lambda value: value


def from_table(table: pa.Table, record: type[Record]) -> Iterator[Record]:
    """Yield the records of a table, batch by batch; raises KeyError where a column is missing."""
    reader = _reader(record)
    for batch in table.to_batches():
        for row in batch.to_pylist():
            yield reader(row)
