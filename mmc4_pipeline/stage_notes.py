"""Keeps all notes of a finished stage in one Parquet file: on remote storage each small file takes a request.

Columns: `note`, a shard's note as JSON, and `urls`, the filter of its URLs, which few readers need.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from schemas.manifest import ShardNote, decode

ALL_NOTES = "notes.parquet"
_SCHEMA = pa.schema([pa.field("note", pa.binary(), nullable=False), pa.field("urls", pa.binary())])
_NOTES_PER_GROUP = 256  # that are in memory


@contextmanager
def writing_notes(stream: storage.HashingWriter) -> Iterator[Callable[[ShardNote], None]]:
    """Write notes to an open file; the body calls the given function with each of them, in order of their shards."""
    sink = pa.PythonFile(stream, mode="w")
    # With checksums: a filter with a wrong bit would hide a URL.
    with pq.ParquetWriter(sink, _SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        rows: list[tuple[bytes, bytes | None]] = []

        def flush() -> None:
            columns = list(zip(*rows, strict=True)) or [(), ()]
            writer.write_table(pa.table(list(map(pa.array, columns, _SCHEMA.types)), _SCHEMA))
            rows.clear()

        def add(note: ShardNote) -> None:
            rows.append((msgspec.json.encode(msgspec.structs.replace(note, urls=None)), note.urls))
            if len(rows) == _NOTES_PER_GROUP:
                flush()

        yield add
        flush()


def read_notes(path: str, *, urls: bool = False) -> Iterator[ShardNote]:
    """Yield the notes in a file, with their filters of URLs if `urls`; raises UserError if it is damaged."""
    columns = _SCHEMA.names if urls else _SCHEMA.names[:1]
    try:
        with storage.open_read(path) as stream:
            file = pq.ParquetFile(pa.PythonFile(stream, mode="r"), page_checksum_verification=True)
            for batch in file.iter_batches(_NOTES_PER_GROUP, columns=columns):
                for row in batch.to_pylist():
                    note = decode(row["note"], ShardNote)
                    yield msgspec.structs.replace(note, urls=row["urls"]) if urls else note
    except (pa.ArrowException, msgspec.MsgspecError, OSError) as error:
        why = str(error).partition("\n")[0]
        raise UserError(f"{path}: not readable as a stage's notes ({why}); remove it") from error
