"""Read Parquet files that anybody may have written, row by row, each row within bounds.

A Parquet file can say in a few bytes that a long text is repeated a million times. So texts are read in
dictionary-encoded form, and a row's texts are measured before they are made.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.published.layout import Kind
from mmc4_pipeline.storage import Inputs
from mmc4_pipeline.storage.foreign_parquet import footer, holds_text

MAX_ROW = 64 << 20  # bytes of a row's texts, as of a line
_MAX_VALUES = 1 << 26  # of a column in a row group: published files have a hundredth of it
_ROWS_AT_ONCE = 100
_BUFFER = 1 << 20


def kinds_of_columns(inputs: Inputs, path: str) -> dict[str, Kind]:
    """Return the kind of each column, and of each field of a struct as `column.field`; a LIST is one of texts.

    Raises UserError if the file is truncated or not a Parquet file.
    """
    _, schema = footer(inputs, path)
    kinds: dict[str, Kind] = {}
    for field in schema:
        kinds[field.name] = _kind(field.type)
        if pa.types.is_struct(field.type):
            kinds |= {f"{field.name}.{inner.name}": _kind(inner.type) for inner in field.type}
    return kinds


def _kind(kind: pa.DataType) -> Kind:
    if _is_list(kind) and holds_text(kind.value_type):
        return Kind.LIST
    if pa.types.is_struct(kind):
        return Kind.OBJECT
    return Kind.TEXT if holds_text(kind) else Kind.OTHER


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def rows_of_parquet(inputs: Inputs, path: str, columns: Sequence[str]) -> Iterator[dict[str, Any] | str]:
    """Yield each row's values by the columns' names, or why it cannot be read.

    Raises UserError if the file is truncated or corrupt; the message has the last row that could be read.
    """
    number = 0
    try:
        with inputs.open_read(path) as raw:
            schema = pq.ParquetFile(raw).schema
            paths = [schema.column(index).path for index in range(len(schema))]
            texts = [leaf for leaf in paths if any(leaf == name or leaf.startswith(f"{name}.") for name in columns)]
            file = pq.ParquetFile(raw, buffer_size=_BUFFER, read_dictionary=texts)
            _check_size(path, file.metadata)
            # One row group after the other, because each has dictionaries of its own, which a batch can't mix.
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=list(columns)):
                    read = {name: _Column(_column(batch, name)) for name in columns}
                    for index in range(len(batch)):
                        yield _row(read, index)
                        number += 1
    except (EOFError, OSError, pa.ArrowException) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: truncated or corrupt after row {number} ({why}); download it again") from error


def _check_size(path: str, metadata: pq.FileMetaData) -> None:
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        if max((group.column(index).num_values for index in range(group.num_columns)), default=0) > _MAX_VALUES:
            raise UserError(f"{path}: a row group has more than {_MAX_VALUES:,} values; write it in smaller row groups")


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    top, _, below = name.partition(".")
    column = batch.column(top)
    return pc.struct_field(column, below) if below else column


def _row(columns: dict[str, "_Column"], index: int) -> dict[str, Any] | str:
    size = sum(column.size(index) for column in columns.values())
    if size > MAX_ROW:
        return f"the row has texts of {size:,} bytes"
    try:
        return {name: column.value(index) for name, column in columns.items()}
    except UnicodeDecodeError:
        return "a text is not valid UTF-8"


class _Column:
    """A column of texts or of lists of texts, of which values are made one by one."""

    def __init__(self, column: pa.Array) -> None:
        self._is_list = _is_list(column.type)
        self._is_null = column.is_null().to_numpy(zero_copy_only=False)
        if self._is_list:
            offsets = column.offsets.to_numpy()
            self._starts, self._ends = offsets[:-1], offsets[1:]
            column = column.values
        else:
            self._starts = np.arange(len(column))
            self._ends = self._starts + 1
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        self._places = column.indices.fill_null(-1).to_numpy()
        self._texts = column.dictionary.cast(pa.large_string()).cast(pa.large_binary())
        self._sizes = pc.binary_length(self._texts).fill_null(0).to_numpy()

    def _of(self, index: int) -> npt.NDArray[np.int32]:
        places: npt.NDArray[np.int32] = self._places[self._starts[index] : self._ends[index]]
        return places

    def size(self, index: int) -> int:
        """Return the bytes of a row's value, as Python would have it."""
        if self._is_null[index]:
            return 0
        places = self._of(index)
        return int(self._sizes[places[places >= 0]].sum())

    def value(self, index: int) -> Any:
        """Return a row's value; raises UnicodeDecodeError."""
        if self._is_null[index]:
            return None
        texts = [None if place < 0 else self._text(place) for place in self._of(index).tolist()]
        return texts if self._is_list else texts[0]

    def _text(self, place: int) -> str | None:
        value = self._texts[place].as_py()
        return None if value is None else value.decode()
