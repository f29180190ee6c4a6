"""Find the files of documents, and decide before the run which documents to read of them."""

from dataclasses import dataclass, field

import pyarrow as pa

from mmc4_pipeline.documents.fields import FORMATS, DocumentFields
from mmc4_pipeline.documents.rows import as_object, field_of, first_lines, is_parquet, read_rows
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage import Inputs, for_each
from mmc4_pipeline.storage.foreign_parquet import footer, holds_text

_BYTES_PER_DOCUMENT = 900  # of allenai/c4, compressed: used if the sample has no complete line


@dataclass(frozen=True, slots=True)
class Chosen:
    """Files with their sizes in bytes, and about how many documents are read of them.

    `first` has the number of rows that are read of a file of which not all are read.
    """

    sizes: dict[str, int]
    expected: int
    first: dict[str, int] = field(default_factory=dict)


def choose(inputs: Inputs, paths: list[str], names: DocumentFields, limit: int | None = None) -> Chosen:
    """Inspect the files, in order and only as many as the first `limit` documents are in, or all of them.

    Raises UserError if a file lacks a field.
    """
    if limit is None:
        inspected = for_each(paths, lambda path: inspect(inputs, path, names))
        return Chosen(
            {path: size for path, (size, _) in inspected.items()}, sum(rows for _, rows in inspected.values())
        )
    sizes, remaining = {}, limit
    for path in paths:
        sizes[path], rows = inspect(inputs, path, names)
        if not is_parquet(path):
            rows = sum(1 for _ in read_rows(inputs, path, names, (), remaining))
        if rows >= remaining:
            return Chosen(sizes, limit, {path: remaining})
        remaining -= rows
    return Chosen(sizes, limit - remaining)


def count_documents(inputs: Inputs, paths: list[str], names: DocumentFields, limit: int | None = None) -> int:
    """Return about how many documents there are, `limit` at most. Raises UserError for none, or a missing field.

    The first file is counted by its beginning or footer, and the others by their size. With a limit, files are
    inspected until they have as many documents.
    """
    size, count = inspect(inputs, paths[0], names)
    for path in paths[1:]:
        if limit is None:
            sizes = for_each(paths[1:], inputs.size)
            count = round(count * (size + sum(sizes.values())) / size) if size else count
            break
        if count >= limit:
            break
        count += inspect(inputs, path, names)[1]
    if not count:
        raise UserError(f"{paths[0]}: contains no documents; check --c4")
    return min(count, limit or count)


def document_files(inputs: Inputs, patterns: list[str]) -> list[str]:
    """Return the C4 files that match the patterns, sorted; raises UserError for a pattern without a match."""
    return inputs.matches_of("--c4", patterns)


def inspect(inputs: Inputs, path: str, names: DocumentFields) -> tuple[int, int]:
    """Return a file's size in bytes and its approximate number of documents, from its beginning or its footer.

    Raises UserError if a field is missing, so that this is found before the run; the message lists the file's fields.
    """
    size = inputs.size(path)
    if is_parquet(path):
        return size, _rows_of(inputs, path, names)
    read, lines = first_lines(inputs, path, size)
    objects = [item for item in map(as_object, lines) if isinstance(item, dict)]
    found = dict.fromkeys(key for item in objects for key in item)
    for name in names.named().values():
        if found and all(field_of(item, name) is None for item in objects):
            raise _missing_field(path, name, list(found))
    return size, round(size * len(lines) / read) if lines else size // _BYTES_PER_DOCUMENT


def _rows_of(inputs: Inputs, path: str, names: DocumentFields) -> int:
    metadata, columns = footer(inputs, path)
    for name, column in names.named().items():
        kind = _type_of(columns, column)
        if kind is None:
            raise _missing_field(path, column, columns.names)
        if not holds_text(kind) and not (name == "timestamp" and pa.types.is_timestamp(kind)):
            raise UserError(f"{path}: the column {column!r} is {kind}, not a {name}; name another with --c4_fields")
    return int(metadata.num_rows)


def _type_of(columns: pa.Schema, name: str) -> pa.DataType | None:
    if name in columns.names:
        return columns.field(name).type
    parts = name.split(".")
    kind = columns.field(parts[0]).type if parts[0] in columns.names else None
    for part in parts[1:]:
        if not (kind is not None and pa.types.is_struct(kind)) or kind.get_field_index(part) < 0:
            return None
        kind = kind.field(part).type
    return kind


def _missing_field(path: str, name: str, found: list[str]) -> UserError:
    tops = ({column.partition(".")[0] for column in names.named().values()} for names in FORMATS.values())
    known = [format_ for format_, top in zip(FORMATS, tops, strict=True) if top <= set(found)]
    alike = f"use --documents_format {known[0]}, or " if known else ""
    return UserError(
        f"{path}: no field {name!r} (found: {', '.join(found)}); "
        f"{alike}map the fields, as in --c4_fields text=content url=uri timestamp=date"
    )
