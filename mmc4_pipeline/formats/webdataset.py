"""WebDataset shards with image files: a tar with `<key>.json`, `<key>.0.jpg`, `<key>.1.jpg`, … for each document.

Plain webdataset groups them by key into a sample of `json`, `0.jpg`, `1.jpg`, …. The JSON is MMC4's published document;
`image_info[i]` is about `<key>.<i>.jpg`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO

import orjson

from mmc4_pipeline.dataset.cut import CutDocument
from mmc4_pipeline.formats.base import Add, Format, Json, Stays
from mmc4_pipeline.formats.mmc4_jsonl import as_json, what_stays
from mmc4_pipeline.storage import HashingWriter
from mmc4_pipeline.tar import add_file, open_tar, read_files, unreadable


@dataclass(frozen=True)
class WebDataset(Format):
    """Image files beside their document."""

    folder = "webdataset"
    extension = "tar"

    @contextmanager
    def open_shard(self, writer: HashingWriter, stem: str) -> Iterator[Add]:
        """Begin a shard."""
        with open_tar(writer) as tar:

            def add(document: CutDocument, images: Sequence[bytes]) -> None:
                add_file(tar, f"{document.page.key}.json", orjson.dumps(as_json(document)))
                for number, jpeg in enumerate(images):
                    add_file(tar, f"{document.page.key}.{number}.jpg", jpeg)

            yield add

    def read_shard(self, stream: BinaryIO, path: str) -> Iterator[Json]:
        """Yield samples as webdataset has them: `__key__`, `json` (read) and the bytes of `0.jpg`, `1.jpg`, ….

        Raises UserError also where a document's images are not all there.
        """
        for key, group in groupby(read_files(stream, path), key=lambda file: file[0].partition(".")[0]):
            sample = {name.partition(".")[2]: data for name, data in group}
            try:
                document = orjson.loads(sample["json"])
                expected = {"json", *(f"{number}.jpg" for number in range(len(document["image_info"])))}
            except (KeyError, TypeError, orjson.JSONDecodeError) as error:
                raise unreadable(path, f"{key} has no document: {error!r}") from error
            if sample.keys() != expected:
                raise unreadable(path, f"{key} has the files {', '.join(sample)}, and not one for each image")
            yield {"__key__": key, **sample, "json": document}

    def copy_shard(self, stream: BinaryIO, path: str, writer: HashingWriter, stem: str, stays: Stays) -> None:
        """Copy a shard, but for what goes; the images that stay are numbered anew."""
        with open_tar(writer) as tar:
            for sample in self.read_shard(stream, path):
                document, key = sample["json"], sample["__key__"]
                left = what_stays(document, stays)
                if left is None:
                    continue
                add_file(tar, f"{key}.json", orjson.dumps(left))
                numbers = [number for number, info in enumerate(document["image_info"]) if info in left["image_info"]]
                for new, number in enumerate(numbers):
                    add_file(tar, f"{key}.{new}.jpg", sample[f"{number}.jpg"])
