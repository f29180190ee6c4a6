"""MosaicML Streaming's MDS: `mds/index.json` and one file per shard, for `StreamingDataset(local="…/mds")`.

Samples have `texts` (JSON: a list in which null stands for an image), `images` (the images in order, decoded to PIL
images), `image_urls`, `key`, `url` and `sentence_lengths` (the characters of each sentence).

The bytes are those that `streaming.MDSWriter` writes (`streaming/base/format/mds/writer.py`, version 2): how many
samples there are, their offsets, the columns as JSON, the samples. MDSWriter itself is not used, because it writes into
a folder of its own, and mosaicml-streaming needs NumPy below 2.2, which contradicts constraints.txt.
"""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
import orjson

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.base import FinishedShard
from mmc4_pipeline.formats.sequence import Row, SequenceFormat
from mmc4_pipeline.storage import HashingWriter
from mmc4_pipeline.storage.spool import Spool
from mmc4_pipeline.tar import unreadable

_COLUMNS = {  # in MDS's order, by name
    "image_urls": "json",
    "images": "list[jpeg]",
    "key": "str",
    "sentence_lengths": "json",
    "texts": "json",
    "url": "str",
}
_CONFIG: dict[str, Any] = {
    "column_encodings": list(_COLUMNS.values()),
    "column_names": list(_COLUMNS),
    "column_sizes": [None] * len(_COLUMNS),
    "compression": None,
    "format": "mds",
    "hashes": [],
    "size_limit": None,
    "version": 2,
}
_HEADER = json.dumps(_CONFIG, sort_keys=True).encode()
_LARGEST = 2**32  # offsets have 32 bits


@dataclass(frozen=True)
class Mds(SequenceFormat):
    """Samples of texts and images."""

    folder = "mds"
    extension = "mds"
    media_type = "application/octet-stream"
    in_order = True

    @contextmanager
    def writing(self, writer: HashingWriter, _stem: str) -> Iterator[Callable[[Row], None]]:
        """Open a new shard. Samples wait in a temporary file, because the file begins with their offsets.

        Raises UserError at the end if the shard has 4 GiB or more.
        """
        sizes: list[int] = []
        with closing(Spool()) as samples:

            def write(row: Row) -> None:
                sample = _encoded(row)
                samples.put(len(sizes), sample)
                sizes.append(len(sample))

            yield write
            start = 4 + 4 * (len(sizes) + 1) + len(_HEADER)
            if start + sum(sizes) >= _LARGEST:
                raise UserError("--formats mds: a shard has more than 4 GiB, the most that MDS can have; "
                                "choose smaller --shard_bytes")  # fmt: skip
            writer.write(np.uint32(len(sizes)).tobytes())
            writer.write((np.cumsum([0, *sizes]) + start).astype(np.uint32).tobytes())
            writer.write(_HEADER)
            for number in range(len(sizes)):
                writer.write(samples.get(number) or b"")

    def rows(self, stream: BinaryIO, path: str) -> Iterator[Row]:
        """Yield the samples."""
        count = int(np.frombuffer(_read(stream, 4, path), np.uint32)[0])
        offsets = np.frombuffer(_read(stream, 4 * (count + 1), path), np.uint32).astype(np.int64)
        if offsets[0] != 4 + 4 * (count + 1) + len(_HEADER) or _read(stream, len(_HEADER), path) != _HEADER:
            raise unreadable(path, "it has other columns")
        for size in np.diff(offsets).tolist():
            data = _read(stream, size, path)
            try:
                yield _decoded(data)
            except (ValueError, IndexError) as error:
                raise unreadable(path, f"it has a sample that is damaged: {error}") from error
        if stream.read(1):
            raise unreadable(path, "it goes on after the last sample")

    def index_files(self, _folder: str, shards: Sequence[FinishedShard]) -> Iterator[tuple[str, BinaryIO]]:
        """Yield index.json, which lists the shards that have documents."""
        listed = [
            _CONFIG
            | {
                "raw_data": {
                    "basename": shard.file.name.removeprefix(f"{self.folder}/"),
                    "bytes": shard.file.bytes,
                    "hashes": {},
                },
                "samples": shard.documents,
                "zip_data": None,
            }
            for shard in shards
            if shard.documents
        ]
        yield f"{self.folder}/index.json", io.BytesIO(storage.json_bytes({"shards": listed, "version": 2}))


def _encoded(row: Row) -> bytes:
    """Return the bytes of a sample: the size of each value, then the values."""
    images = row["images"]
    values = {
        "image_urls": orjson.dumps(row["image_urls"]),
        "images": b"".join([_uint32s([0, len(images), *map(len, images)]), *images]),
        "key": row["key"].encode(),
        "sentence_lengths": orjson.dumps(row["sentence_lengths"]),
        "texts": orjson.dumps(row["texts"]),
        "url": row["url"].encode(),
    }
    in_order = [values[name] for name in _COLUMNS]
    return _uint32s(list(map(len, in_order))) + b"".join(in_order)


def _decoded(data: bytes) -> Row:
    """Return the row of a sample; raises ValueError or IndexError if it is damaged."""
    sizes = dict(zip(_COLUMNS, np.frombuffer(data, np.uint32, len(_COLUMNS)).tolist(), strict=True))
    start, values = 4 * len(_COLUMNS), {}
    for name in _COLUMNS:
        values[name] = data[start : start + sizes[name]]
        start += sizes[name]
    if start != len(data):
        raise ValueError(f"{len(data)} bytes instead of {start}")
    return Row(
        key=values["key"].decode(),
        url=values["url"].decode(),
        sentence_lengths=orjson.loads(values["sentence_lengths"]),
        texts=orjson.loads(values["texts"]),
        images=_images(values["images"]),
        image_urls=orjson.loads(values["image_urls"]),
    )


def _images(data: bytes) -> list[bytes]:
    count = int(np.frombuffer(data, np.uint32, 2)[1])
    ends = np.cumsum([8 + 4 * count, *np.frombuffer(data, np.uint32, count, 8).tolist()]).tolist()
    if ends[-1] != len(data):
        raise ValueError(f"images have {len(data)} bytes instead of {ends[-1]}")
    return [data[start:end] for start, end in pairwise(ends)]


def _uint32s(values: Sequence[int]) -> bytes:
    return np.array(values, np.uint32).tobytes()


def _read(stream: BinaryIO, size: int, path: str) -> bytes:
    data = stream.read(size) if size >= 0 else b""
    if len(data) != size:
        raise unreadable(path, "it is truncated")
    return data
