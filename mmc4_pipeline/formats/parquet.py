"""Parquet with the images' bytes: at each index exactly one of `texts` and `images` is not null.

Hugging Face `datasets` decodes the images: the schema's metadata declare them, and they have the type that it stores
images in (a struct of `bytes` and `path`, which is null); with any other type it ignores the declaration. torchtitan's
loader for OBELICS takes the columns through `datasets`. Row groups are small, because streaming readers and BAGEL read
one at a time; `row_groups.json` is BAGEL's list of how many each file has.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline import storage
from mmc4_pipeline.formats.base import FinishedShard
from mmc4_pipeline.formats.sequence import Row, SequenceFormat
from mmc4_pipeline.sequence import images_of, without_images
from mmc4_pipeline.storage import HashingWriter
from mmc4_pipeline.tar import unreadable

_TEXTS = {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}
_FEATURES = {  # as `datasets` writes its Features into the schema
    "key": _TEXTS["feature"],
    "url": _TEXTS["feature"],
    "texts": _TEXTS,
    "images": {"feature": {"_type": "Image"}, "_type": "List"},
    "image_urls": _TEXTS,
    "sentence_lengths": {"feature": {"dtype": "int32", "_type": "Value"}, "_type": "List"},
}
SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("url", pa.string()),
        pa.field("texts", pa.list_(pa.string())),
        pa.field("images", pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()}))),
        pa.field("image_urls", pa.list_(pa.string())),
        pa.field("sentence_lengths", pa.list_(pa.int32())),
    ],
    metadata={"huggingface": orjson.dumps({"info": {"features": _FEATURES}})},
)
_COMPRESSION = {
    "key": "zstd",
    "url": "zstd",
    "texts.list.element": "zstd",
    "images.list.element.bytes": "none",  # JPEG cannot be compressed further
    "images.list.element.path": "zstd",
    "image_urls.list.element": "zstd",
    "sentence_lengths.list.element": "zstd",
}
_DOCUMENTS, _BYTES = 32, 32 << 20  # a row group has no more documents, and ends with the one that reaches the bytes


@dataclass(frozen=True)
class Parquet(SequenceFormat):
    """Rows of texts and images."""

    folder = "parquet"
    extension = "parquet"
    media_type = "application/x-parquet"
    loader = "parquet"

    @contextmanager
    def writing(self, writer: HashingWriter, _stem: str) -> Iterator[Callable[[Row], None]]:
        """Open a new shard."""
        group: list[dict[str, Any]] = []
        size = 0
        with pq.ParquetWriter(
            pa.PythonFile(writer, mode="w"),
            SCHEMA,
            compression=_COMPRESSION,
            use_dictionary=False,
            write_statistics=False,
        ) as parquet:

            def write_group() -> None:
                nonlocal size
                if group:
                    parquet.write_table(pa.Table.from_pylist(group, schema=SCHEMA))
                group.clear()
                size = 0

            def write(row: Row) -> None:
                nonlocal size
                group.append(_columns(row))
                size += sum(map(len, row["images"]))
                if len(group) == _DOCUMENTS or size >= _BYTES:
                    write_group()

            yield write
            write_group()

    def rows(self, stream: BinaryIO, path: str) -> Iterator[Row]:
        """Yield the rows."""
        try:
            file = pq.ParquetFile(pa.PythonFile(stream, mode="r"))
            for group in range(file.num_row_groups):
                for row in file.read_row_group(group, columns=SCHEMA.names).to_pylist():
                    row["images"] = [image["bytes"] for image in row["images"] if image is not None]
                    row["image_urls"] = [url for url in row["image_urls"] if url is not None]
                    yield row
        except (pa.ArrowException, OSError, TypeError) as error:
            raise unreadable(path, str(error).partition("\n")[0]) from error

    def index_files(self, folder: str, shards: Sequence[FinishedShard]) -> Iterator[tuple[str, BinaryIO]]:
        """Yield BAGEL's list of the row groups of each file, by the file's path below the dataset's folder."""
        names = [shard.file.name for shard in shards]
        numbers = storage.concurrently(partial(_row_groups, folder), names)
        groups = {name: {"num_row_groups": number} for name, number in zip(names, numbers, strict=True)}
        yield f"{self.folder}/row_groups.json", io.BytesIO(storage.json_bytes(groups))


def _columns(row: Row) -> dict[str, Any]:
    """Return a row with its images, and their URLs, at the places where `texts` has null."""
    parts = without_images(row["texts"], [True] * len(row["images"]))
    images = [{"bytes": image, "path": None} for image in row["images"]]
    return {**row, "images": images_of(parts, images), "image_urls": images_of(parts, row["image_urls"])}


def _row_groups(folder: str, name: str) -> int:
    path = storage.join(folder, name)
    with storage.open_read(path) as stream:
        try:
            return pq.ParquetFile(pa.PythonFile(stream, mode="r")).num_row_groups  # type: ignore[no-any-return]
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, str(error).partition("\n")[0]) from error
