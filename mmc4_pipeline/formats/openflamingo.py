"""OpenFlamingo's WebDataset shards: a tar with one JSON file per document, which holds its images as base64 JPEG.

The JSON is MMC4's published document (`schemas/mmc4_document.schema.json`) with `image_base64` in each image_info,
as OpenFlamingo's converter writes it and its trainer reads it.
"""

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, BinaryIO

import msgspec
import orjson

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.formats.base import Add, Choose, DocumentView, Format, Json
from mmc4_pipeline.formats.mmc4_jsonl import as_json, view_of, with_chosen
from mmc4_pipeline.storage import HashingWriter
from mmc4_pipeline.tar import add_file, open_tar, read_files_from, unreadable
from schemas.mmc4_document import EmbeddedImage, Mmc4Document


@dataclass(frozen=True)
class OpenFlamingo(Format):
    """The default format. Its shards are stored in the dataset's own folder."""

    folder = ""
    extension = "tar"
    media_type = "application/x-tar"
    loader = "webdataset"
    in_order = True

    @contextmanager
    def open_shard(self, writer: HashingWriter, _stem: str, /) -> Iterator[Add]:
        """Open a new shard."""
        with open_tar(writer) as tar:

            def add(document: CutDocument, images: Sequence[bytes]) -> None:
                add_file(tar, f"{document.page.key}.json", orjson.dumps(_with_images(as_json(document), images)))

            yield add

    def read_shard(self, stream: BinaryIO, path: str) -> Iterator[Json]:
        """Yield samples as webdataset has them: `__key__` and `json` (parsed)."""
        return ({"__key__": key, "json": document} for key, document in read_shard(stream, path))

    def view(self, stored: Json) -> DocumentView:
        """Return a view of a sample's document."""
        return replace(view_of(stored["json"]), key=stored["__key__"])

    def mmc4_document(self, stored: Json, /) -> Mmc4Document[EmbeddedImage]:
        """Return a sample's document."""
        return msgspec.convert(stored["json"], Mmc4Document[EmbeddedImage])

    def jpeg(self, stored: Json, number: int, /) -> bytes:
        """Return an image; raises ValueError if its base64 is not valid."""
        return base64.b64decode(stored["json"]["image_info"][number]["image_base64"], validate=True)

    def copy_shard(self, stream: BinaryIO, path: str, writer: HashingWriter, _stem: str, choose: Choose, /) -> None:
        """Copy a shard without what `choose` removes."""
        with open_tar(writer) as tar:
            for key, document in read_shard(stream, path):
                if (remaining := with_chosen(document, choose)) is not None:
                    add_file(tar, f"{key}.json", orjson.dumps(remaining))


def _with_images(document: Json, images: Sequence[bytes]) -> Json:
    for info, jpeg in zip(document["image_info"], images, strict=True):
        info["image_base64"] = base64.b64encode(jpeg).decode("ascii")
    return document


def read_shard(stream: IO[bytes], path: str) -> Iterator[tuple[str, Json]]:
    """Yield the key and document of each file; raises UserError if the tar is truncated or a file is not JSON."""
    return ((key, document) for key, document, _ in read_documents(stream, path, 0))


def read_documents(stream: IO[bytes], path: str, start: int) -> Iterator[tuple[str, Json, int]]:
    """Yield the key and document of each file from the offset `start` on, and the offset of the next file.

    Raises UserError if the tar is truncated or a file is not JSON.
    """
    for name, data, end in read_files_from(stream, path, start):
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise unreadable(path, error) from error
        yield name.removesuffix(".json"), document, end
