"""One JSON document per line, compressed with gzip: sentences and image URLs in reading order.

A line looks like `{"url": "…", "parts": [{"text": "One sentence."}, {"image": "https://…"}, {"text": "Another."}]}`, in
the dataset's order.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.formats.base import Add, Choose, DocumentView, Format, Json
from mmc4_pipeline.sequence import in_order
from mmc4_pipeline.storage import HashingWriter
from mmc4_pipeline.tar import unreadable


@dataclass(frozen=True)
class InterleavedJsonl(Format):
    """Text and image links, without image bytes."""

    folder = "interleaved_jsonl"
    extension = "jsonl.gz"
    media_type = "application/gzip"
    needs_images = False
    loader = "json"

    @contextmanager
    def open_shard(self, writer: HashingWriter, _stem: str, /) -> Iterator[Add]:
        """Open a new shard."""
        with _compressed(writer) as lines:

            def add(document: CutDocument, _: Sequence[bytes]) -> None:
                lines.write(_line(_as_json(document)))

            yield add

    def read_shard(self, stream: BinaryIO, path: str) -> Iterator[Json]:
        """Yield the documents."""
        try:
            with gzip.GzipFile(fileobj=stream) as lines:
                for line in lines:
                    yield json.loads(line)
        except (OSError, EOFError, zlib.error, json.JSONDecodeError) as error:
            raise unreadable(path, error) from error

    def view(self, stored: Json) -> DocumentView:
        """Return a view of a document."""
        return DocumentView(stored["url"], tuple(_image_urls(stored)), sum("text" in part for part in stored["parts"]))

    def copy_shard(self, stream: BinaryIO, path: str, writer: HashingWriter, _stem: str, choose: Choose, /) -> None:
        """Copy a shard without what `choose` removes."""
        with _compressed(writer) as lines:
            for document in self.read_shard(stream, path):
                chosen = choose(document["url"], _image_urls(document))
                if chosen is not None:
                    keep = iter(chosen)
                    parts = [part for part in document["parts"] if "text" in part or next(keep)]
                    lines.write(_line({**document, "parts": parts}))


def _compressed(writer: HashingWriter) -> gzip.GzipFile:
    """Open a new gzip file without name and date, so that the same documents give the same bytes."""
    return gzip.GzipFile(filename="", mode="wb", fileobj=writer, mtime=0)


def _line(document: Json) -> bytes:
    return (json.dumps(document, ensure_ascii=False) + "\n").encode()


def _as_json(document: CutDocument) -> Json:
    urls = [item.image.url for item in document.placed]
    sequence = in_order(document.page.sentences, [item.before for item in document.placed])
    parts = [{"text": part} if isinstance(part, str) else {"image": urls[part]} for part in sequence]
    return {"url": document.page.url, "parts": parts}


def _image_urls(document: Json) -> list[str]:
    return [part["image"] for part in document["parts"] if "image" in part]
