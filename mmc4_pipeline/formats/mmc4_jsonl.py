"""MMC4's own format: one JSON document a line, images as links, in a zip of one file as published, or in gzip.

The paper's project publishes `docs_no_face_shard_<i>_v2.jsonl.zip`; here shard i is `mmc4_jsonl/shard-<i>.jsonl.gz` or
`.zip`. What reads theirs reads these: OpenFlamingo's converter, for one, takes the first file of each zip.
"""

import gzip
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from typing import IO, BinaryIO, Literal

import orjson

from mmc4_pipeline.dataset.cut import CutDocument, Placed
from mmc4_pipeline.formats.base import Add, Format, Json, Stays
from mmc4_pipeline.naming import image_name
from mmc4_pipeline.storage import HashingWriter
from mmc4_pipeline.tar import unreadable

DIGITS = 6  # of a similarity: float32 has no more, and shorter numbers keep shards small
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # what a zip can say; any fixed date would do


@dataclass(frozen=True)
class Mmc4Jsonl(Format):
    """`similarity_matrix=false` leaves out what takes most of the room beside the text."""

    compression: Literal["gz", "zip"] = "gz"
    similarity_matrix: bool = True

    folder = "mmc4_jsonl"
    needs_images = False

    @property
    def extension(self) -> str:
        """Give the extension."""
        return f"jsonl.{self.compression}"

    @contextmanager
    def open_shard(self, writer: HashingWriter, stem: str) -> Iterator[Add]:
        """Begin a shard."""
        with _compressed(writer, f"{stem}.jsonl", self.compression) as lines:

            def add(document: CutDocument, _: Sequence[bytes]) -> None:
                line = as_json(document)
                if not self.similarity_matrix:
                    del line["similarity_matrix"]
                lines.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

            yield add

    def read_shard(self, stream: BinaryIO, path: str) -> Iterator[Json]:
        """Yield the documents, of either compression."""
        try:
            with _decompressed(stream) as lines:
                for line in lines:
                    yield orjson.loads(line)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, orjson.JSONDecodeError) as error:
            raise unreadable(path, error) from error

    def copy_shard(self, stream: BinaryIO, path: str, writer: HashingWriter, stem: str, stays: Stays) -> None:
        """Copy a shard, but for what goes."""
        with _compressed(writer, f"{stem}.jsonl", self.compression) as lines:
            for document in self.read_shard(stream, path):
                if (left := what_stays(document, stays)) is not None:
                    lines.write(orjson.dumps(left, option=orjson.OPT_APPEND_NEWLINE))


@contextmanager
def _compressed(writer: HashingWriter, name: str, compression: str) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a file in gzip or zip that has no date and no name but its own."""
    if compression == "gz":
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=writer, mtime=0) as lines:
            yield lines
    else:
        entry = zipfile.ZipInfo(name, _EARLIEST)
        entry.compress_type = zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(writer, "w") as archive, archive.open(entry, "w", force_zip64=True) as lines:
            yield lines


@contextmanager
def _decompressed(stream: BinaryIO) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open the lines of a gzip file, or of the first file of a zip."""
    start = stream.read(2)
    stream.seek(0)
    if not start:
        message = "it is empty"  # which gzip would take for no lines
        raise EOFError(message)
    if start != b"PK":
        with gzip.GzipFile(fileobj=stream) as lines:
            yield lines
    else:
        with zipfile.ZipFile(stream) as archive, archive.open(archive.namelist()[0]) as lines:
            yield lines


def as_json(document: CutDocument) -> Json:
    """Give a document as MMC4 publishes it (`schemas/mmc4_document.schema.json`); image i is `document.placed[i]`."""
    return {
        "url": document.page.url,
        "text_list": document.page.sentences,
        "image_info": [_image_info(item) for item in document.placed],
        "similarity_matrix": [[round(value, DIGITS) for value in item.score.similarity] for item in document.placed],
        "could_have_url_duplicate": int(document.page.could_have_url_duplicate),
    }


def what_stays(document: Json, stays: Stays) -> Json | None:
    """Give a document as MMC4 publishes it without the images that go, None where all of it goes."""
    chosen = stays(document["url"], [info["raw_url"] for info in document["image_info"]])
    if chosen is None or all(chosen):
        return document if chosen is not None else None
    of_images = [name for name in ("image_info", "similarity_matrix") if name in document]
    return document | {name: list(compress(document[name], chosen)) for name in of_images}


def _image_info(item: Placed) -> Json:
    return {
        "image_name": image_name(item.image.url),
        "raw_url": item.image.url,
        "matched_text_index": item.sentence,
        "matched_sim": round(item.similarity, DIGITS),
        "face_detections": item.image.face_detections or None,  # MMC4's README: None if no faces are detected
    }
