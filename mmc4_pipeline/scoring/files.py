"""Reads and writes the Parquet files of scores, whose columns are those that the scorer declares."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from schemas.arrow import rows_to_table
from schemas.columns import Column, Shape
from schemas.manifest import WrittenFile
from schemas.score import DocumentScores, ImageScore

_ROWS_AT_ONCE = 500


def write_scores(path: str, documents: Iterable[DocumentScores], columns: Sequence[Column]) -> WrittenFile:
    """Write a shard's scores; the same scores produce the same bytes."""
    with storage.write_atomically(path) as writer:
        write_score_table(writer, documents, columns)
    return storage.written(path, writer)


def write_score_table(
    writer: storage.HashingWriter, documents: Iterable[DocumentScores], columns: Sequence[Column]
) -> None:
    """Write scores to an open file. Raises ValueError if a score has a column that is not declared."""
    rows = (_row(document, columns) for document in documents)
    pq.write_table(rows_to_table(rows, _schema(columns)), pa.PythonFile(writer, mode="w"), compression="zstd")


def read_scores(path: str, columns: Sequence[Column]) -> Iterator[DocumentScores]:
    """Yield the documents of a file of scores; raises UserError if it has other contents."""
    schema = _schema(columns)
    try:
        with storage.open_read(path) as stream:
            table = pq.read_table(pa.PythonFile(stream, mode="r"), columns=schema.names)
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"{path}: not readable as scores ({why}); run its stage again") from error
    stored = table.schema.field("images").type.value_type if "images" in table.column_names else None
    missing = [name for name in schema.names if name not in table.column_names]
    if stored is not None:
        missing += [
            field.name for field in schema.field("images").type.value_type if stored.get_field_index(field.name) < 0
        ]
    if missing:
        raise UserError(f"{path}: has no column {missing[0]}: an earlier version wrote this file; run its stage again")
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            yield DocumentScores(row.pop("key"), [_image(image) for image in row.pop("images")], row)


def _image(row: dict[str, Any]) -> ImageScore:
    return ImageScore(row.pop("position"), row, reason=row.pop("reason"))


def _row(document: DocumentScores, columns: Sequence[Column]) -> dict[str, Any]:
    of_document = [item.name for item in columns if item.shape is Shape.DOCUMENT]
    of_image = {item.name: item.shape for item in columns if item.shape is not Shape.DOCUMENT}
    _refuse_undeclared(document.values, of_document)
    images = []
    for image in document.images:
        _refuse_undeclared(image.values, of_image)
        values = {name: image.values.get(name, [] if shape is Shape.PAIR else None) for name, shape in of_image.items()}
        images.append({"position": image.position, **values, "reason": image.reason})
    return {"key": document.key, **{name: document.values.get(name) for name in of_document}, "images": images}


def _refuse_undeclared(values: Mapping[str, Any], declared: Iterable[str]) -> None:
    if undeclared := values.keys() - set(declared):
        raise ValueError(f"{', '.join(sorted(undeclared))}: not a declared column of this scorer with that shape")


def _schema(columns: Sequence[Column]) -> pa.Schema:
    image = [pa.field("position", pa.int64(), nullable=False)]
    image += [_field(item) for item in columns if item.shape is not Shape.DOCUMENT]
    image.append(pa.field("reason", pa.string()))
    of_document = [_field(item) for item in columns if item.shape is Shape.DOCUMENT]
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            *of_document,
            pa.field("images", pa.list_(pa.struct(image)), nullable=False),
        ]
    )


def _field(column: Column) -> pa.Field:
    match column.shape:
        case Shape.TEXT:
            return pa.field(column.name, pa.string())
        case Shape.PAIR:
            return pa.field(column.name, pa.list_(pa.float32()), nullable=False)
        case Shape.IMAGE | Shape.DOCUMENT:
            return pa.field(column.name, pa.float32())
