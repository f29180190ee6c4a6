"""MMC4's own format: one JSON document per line, images as links, compressed with gzip or, as published, zip.

The paper's project publishes `docs_no_face_shard_<i>_v2.jsonl.zip`; here shard i is `mmc4_jsonl/shard-<i>.jsonl.gz` or
`.zip`. Programs that read MMC4's files read these too: OpenFlamingo's converter, for example, takes the first file of
each zip.
"""

import gzip
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from typing import IO, BinaryIO, Literal

import msgspec
import orjson

from mmc4_pipeline.cut_document import CutDocument, Placed
from mmc4_pipeline.formats.base import Add, Choose, DocumentView, Format, Json
from mmc4_pipeline.naming import image_name
from mmc4_pipeline.sequence import FOLLOWS
from mmc4_pipeline.storage import HashingWriter
from mmc4_pipeline.tar import unreadable
from schemas.columns import GENERATED_CAPTION
from schemas.mmc4_document import ImageInfo, Mmc4Document

DIGITS = 6  # of a similarity: float32 has no more, and shorter numbers keep shards small
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip entry; any fixed date would do


@dataclass(frozen=True)
class Mmc4Jsonl(Format):
    """MMC4's documents without image bytes.

    `similarity_matrix=false` leaves out the matrix, which takes most of the space after the text.
    """

    compression: Literal["gz", "zip"] = "gz"
    similarity_matrix: bool = True

    folder = "mmc4_jsonl"
    needs_images = False
    loader = "json"

    @property
    def extension(self) -> str:
        """Return the extension."""
        return f"jsonl.{self.compression}"

    @property
    def media_type(self) -> str:
        """Return the media type of the compressed file."""
        return "application/zip" if self.compression == "zip" else "application/gzip"

    @contextmanager
    def open_shard(self, writer: HashingWriter, stem: str, /) -> Iterator[Add]:
        """Open a new shard."""
        with _compressed(writer, f"{stem}.jsonl", self.compression) as lines:

            def add(document: CutDocument, _: Sequence[bytes]) -> None:
                line = as_json(document)
                if not self.similarity_matrix:
                    del line["similarity_matrix"]
                lines.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

            yield add

    def read_shard(self, stream: BinaryIO, path: str) -> Iterator[Json]:
        """Yield the documents of a shard in either compression."""
        try:
            with _decompressed(stream) as lines:
                for line in lines:
                    yield orjson.loads(line)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, orjson.JSONDecodeError) as error:
            raise unreadable(path, error) from error

    def view(self, stored: Json) -> DocumentView:
        """Return a view of a document."""
        return view_of(stored)

    def mmc4_document(self, stored: Json, /) -> Mmc4Document[ImageInfo] | None:
        """Return a document, None if its matrix is left out, which MMC4's schema requires."""
        return msgspec.convert(stored, Mmc4Document[ImageInfo]) if self.similarity_matrix else None

    def copy_shard(self, stream: BinaryIO, path: str, writer: HashingWriter, stem: str, choose: Choose, /) -> None:
        """Copy a shard without what `choose` removes."""
        with _compressed(writer, f"{stem}.jsonl", self.compression) as lines:
            for document in self.read_shard(stream, path):
                if (remaining := with_chosen(document, choose)) is not None:
                    lines.write(orjson.dumps(remaining, option=orjson.OPT_APPEND_NEWLINE))


@contextmanager
def _compressed(writer: HashingWriter, name: str, compression: str) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a new gzip or zip file without a date, so that the same lines give the same bytes."""
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
    if not start:  # gzip would read it as a file without lines
        raise EOFError("it is empty")
    if start != b"PK":
        with gzip.GzipFile(fileobj=stream) as lines:
            yield lines
    else:
        with zipfile.ZipFile(stream) as archive, archive.open(archive.namelist()[0]) as lines:
            yield lines


def as_json(document: CutDocument) -> Json:
    """Return a document as MMC4 publishes it (`schemas/mmc4_document.schema.json`), with its images as in `placed`."""
    return {
        "url": document.page.url,
        "text_list": document.page.sentences,
        "image_info": [_image_info(item) for item in document.placed],
        "similarity_matrix": [[round(value, DIGITS) for value in item.score.similarity] for item in document.placed],
        "could_have_url_duplicate": int(document.page.could_have_url_duplicate),
    }


def view_of(document: Json) -> DocumentView:
    """Return a view of a document in MMC4's form."""
    urls = tuple(info["raw_url"] for info in document["image_info"])
    return DocumentView(document["url"], urls, len(document["text_list"]))


def with_chosen(document: Json, choose: Choose) -> Json | None:
    """Return a document in MMC4's form with only the images that `choose` keeps, None if it removes the document."""
    chosen = choose(document["url"], [info["raw_url"] for info in document["image_info"]])
    if chosen is None or all(chosen):
        return document if chosen is not None else None
    per_image = [name for name in ("image_info", "similarity_matrix") if name in document]
    return document | {name: list(compress(document[name], chosen)) for name in per_image}


def _image_info(item: Placed) -> Json:
    info = {
        "image_name": image_name(item.image.url),
        "raw_url": item.image.url,
        "matched_text_index": item.sentence,
        "matched_sim": round(item.similarity, DIGITS),
        "face_detections": item.image.face_detections or None,  # MMC4's README: None if no faces are detected
    }
    if item.before > item.sentence:
        info[FOLLOWS] = True
    if caption := item.score.values.get(GENERATED_CAPTION):
        info["caption"] = caption
    return info
