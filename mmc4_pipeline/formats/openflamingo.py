"""OpenFlamingo's WebDataset shards: a tar with one JSON a document, its images inside as base64 JPEG.

The JSON is MMC4's published document (`schemas/mmc4_document.schema.json`) with `image_base64` in each image_info,
as OpenFlamingo's converter makes it and its trainer reads it.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, BinaryIO

import orjson

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.cut import CutDocument
from mmc4_pipeline.formats.base import Add, Format, Json, Stays
from mmc4_pipeline.formats.mmc4_jsonl import as_json, what_stays
from mmc4_pipeline.storage import HashingWriter, WrittenFile
from mmc4_pipeline.tar import add_file, open_tar, read_files, unreadable
from schemas.image import Image


@dataclass(frozen=True)
class OpenFlamingo(Format):
    """The default format; its shards lie in the dataset's own folder."""

    folder = ""
    extension = "tar"

    @contextmanager
    def open_shard(self, writer: HashingWriter, stem: str) -> Iterator[Add]:
        """Begin a shard."""
        with open_tar(writer) as tar:

            def add(document: CutDocument, images: Sequence[bytes]) -> None:
                add_file(tar, f"{document.page.key}.json", orjson.dumps(_with_images(as_json(document), images)))

            yield add

    def read_shard(self, stream: BinaryIO, path: str) -> Iterator[Json]:
        """Yield the documents of a shard."""
        return (document for _, document in read_shard(stream, path))

    def copy_shard(self, stream: BinaryIO, path: str, writer: HashingWriter, stem: str, stays: Stays) -> None:
        """Copy a shard, but for what goes."""
        with open_tar(writer) as tar:
            for key, document in read_shard(stream, path):
                if (left := what_stays(document, stays)) is not None:
                    add_file(tar, f"{key}.json", orjson.dumps(left))


def _with_images(document: Json, images: Sequence[bytes]) -> Json:
    for info, jpeg in zip(document["image_info"], images, strict=True):
        info["image_base64"] = base64.b64encode(jpeg).decode("ascii")
    return document


def write_shard(path: str, documents: Iterable[CutDocument], read: Callable[[Image], bytes]) -> WrittenFile:
    """Write the documents that made it, in order; `read` gives an image's JPEG bytes."""
    with storage.write_atomically(path) as writer, OpenFlamingo().open_shard(writer, "") as add:
        for document in documents:
            if document.reason is None:
                add(document, [read(item.image) for item in document.placed])
    return storage.written(path, writer)


def read_shard(stream: IO[bytes], path: str) -> Iterator[tuple[str, Json]]:
    """Yield key and document of a shard; raises UserError where the tar is cut short or holds no JSON."""
    for name, data in read_files(stream, path):
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise unreadable(path, error) from error
        yield name.removesuffix(".json"), document
