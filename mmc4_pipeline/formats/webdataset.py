"""WebDataset shards with image files: a tar with `<key>.json`, `<key>.0.jpg`, `<key>.1.jpg`, … for each document.

Plain webdataset groups them by key into a sample of `json`, `0.jpg`, `1.jpg`, …. The JSON is MMC4's published document;
`image_info[i]` describes `<key>.<i>.jpg`. It also has the document as a sequence, as MINT-1T has it and NeMo Curator's
reader takes it (`InterleavedWebdatasetReader`): at each index exactly one of `texts` and `images` is not null, and
`images` has names of files.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from tarfile import TarFile
from typing import BinaryIO

import msgspec
import orjson

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.formats.base import Add, Choose, DocumentView, Format, Json
from mmc4_pipeline.formats.mmc4_jsonl import as_json, view_of, with_chosen
from mmc4_pipeline.sequence import images_of, in_order, joined, place_of, texts_of
from mmc4_pipeline.storage import HashingWriter
from mmc4_pipeline.tar import add_file, open_tar, read_files, unreadable
from schemas.mmc4_document import ImageInfo, Mmc4Document

_SEQUENCE = ("texts", "images")


@dataclass(frozen=True)
class WebDataset(Format):
    """Image files next to their document."""

    folder = "webdataset"
    extension = "tar"
    media_type = "application/x-tar"
    loader = "webdataset"
    version = 2  # since the documents have their sequence
    in_order = True

    @contextmanager
    def open_shard(self, writer: HashingWriter, _stem: str, /) -> Iterator[Add]:
        """Open a new shard."""
        with open_tar(writer) as tar:
            yield partial(add_sample, tar)

    def read_shard(self, stream: BinaryIO, path: str) -> Iterator[Json]:
        """Yield samples as webdataset has them: `__key__`, `json` (parsed) and the bytes of `0.jpg`, `1.jpg`, ….

        Raises UserError also if a document does not have exactly one file for each of its images.
        """
        for key, group in groupby(read_files(stream, path), key=lambda file: file[0].partition(".")[0]):
            sample = {name.partition(".")[2]: data for name, data in group}
            try:
                document = orjson.loads(sample["json"])
                expected = {"json", *(f"{number}.jpg" for number in range(len(document["image_info"])))}
            except (KeyError, TypeError, orjson.JSONDecodeError) as error:
                raise unreadable(path, f"{key} has no readable document: {error!r}") from error
            if sample.keys() != expected:
                raise unreadable(path, f"{key} has the files {', '.join(sample)}, not one for each image")
            yield {"__key__": key, **sample, "json": document}

    def view(self, stored: Json) -> DocumentView:
        """Return a view of a sample's document."""
        return replace(view_of(stored["json"]), key=stored["__key__"])

    def mmc4_document(self, stored: Json, /) -> Mmc4Document[ImageInfo]:
        """Return a sample's document."""
        document = {name: value for name, value in stored["json"].items() if name not in _SEQUENCE}
        return msgspec.convert(document, Mmc4Document[ImageInfo])

    def jpeg(self, stored: Json, number: int, /) -> bytes:
        """Return an image."""
        return stored[f"{number}.jpg"]  # type: ignore[no-any-return]

    def copy_shard(self, stream: BinaryIO, path: str, writer: HashingWriter, _stem: str, choose: Choose, /) -> None:
        """Copy a shard without what `choose` removes; the remaining images of a document are numbered from 0 again."""
        with open_tar(writer) as tar:
            for sample in self.read_shard(stream, path):
                document, key = sample["json"], sample["__key__"]
                remaining = with_chosen(document, choose)
                if remaining is None:
                    continue
                has_sequence = _SEQUENCE[0] in document  # shards of version 1 do not have it
                add_file(tar, f"{key}.json", _json(key, remaining) if has_sequence else orjson.dumps(remaining))
                kept = [number for number, info in enumerate(document["image_info"]) if info in remaining["image_info"]]
                for new, number in enumerate(kept):
                    add_file(tar, f"{key}.{new}.jpg", sample[f"{number}.jpg"])


def add_sample(tar: TarFile, document: CutDocument, images: Sequence[bytes]) -> None:
    """Add a document and its images to a shard."""
    add_file(tar, f"{document.page.key}.json", _json(document.page.key, as_json(document)))
    for number, jpeg in enumerate(images):
        add_file(tar, f"{document.page.key}.{number}.jpg", jpeg)


def _json(key: str, document: Json) -> bytes:
    """Return the file of a document in MMC4's form, with its sequence."""
    infos = document["image_info"]
    parts = joined(in_order(document["text_list"], list(map(place_of, infos))))
    names = [f"{key}.{number}.jpg" for number in range(len(infos))]
    return orjson.dumps(document | {"texts": texts_of(parts), "images": images_of(parts, names)})
