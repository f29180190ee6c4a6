"""OBELICS' Parquet: a row a document, `images` and `texts` of the same length with exactly one of the two per place.

As published (HuggingFaceM4/OBELICS), `images` holds URLs and no bytes; who wants the bytes takes the WebDataset shard
of the same number. An image stands before its sentence; sentences with no image between them are one text, joined by
spaces. `metadata` and `general_metadata` are JSON strings under OBELICS' keys where it has them; `image_name`,
`sha256` (of the image as received), `matched_sim` and `key` are this project's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline.dataset.cut import CutDocument, Placed
from mmc4_pipeline.formats.base import Add, Format, Json, Stays
from mmc4_pipeline.formats.mmc4_jsonl import DIGITS
from mmc4_pipeline.naming import image_name
from mmc4_pipeline.storage import HashingWriter
from mmc4_pipeline.tar import unreadable

SCHEMA = pa.schema(
    [
        pa.field("images", pa.list_(pa.string())),
        pa.field("metadata", pa.string()),
        pa.field("general_metadata", pa.string()),
        pa.field("texts", pa.list_(pa.string())),
    ]
)
_ROWS = 1000  # a row group: what is held in memory


@dataclass(frozen=True)
class Obelics(Format):
    """Links and text, as Hugging Face `datasets` loads them."""

    folder = "obelics"
    extension = "parquet"
    needs_images = False

    @contextmanager
    def open_shard(self, writer: HashingWriter, stem: str) -> Iterator[Add]:
        """Begin a shard."""
        with _writing(writer) as write:
            yield lambda document, _: write(as_row(document))

    def read_shard(self, stream: BinaryIO, path: str) -> Iterator[Json]:
        """Yield the rows, with `metadata` and `general_metadata` read."""
        try:
            for batch in pq.ParquetFile(pa.PythonFile(stream, mode="r")).iter_batches(columns=SCHEMA.names):
                for row in batch.to_pylist():
                    read = {key: orjson.loads(row[key]) for key in ("metadata", "general_metadata")}
                    yield {**row, **read}
        except (pa.ArrowException, OSError, orjson.JSONDecodeError) as error:
            raise unreadable(path, str(error).partition("\n")[0]) from error

    def copy_shard(self, stream: BinaryIO, path: str, writer: HashingWriter, stem: str, stays: Stays) -> None:
        """Copy a shard, but for what goes."""
        with _writing(writer) as write:
            for row in self.read_shard(stream, path):
                if (left := _what_stays(row, stays)) is not None:
                    write(left)


@contextmanager
def _writing(writer: HashingWriter) -> Iterator[Callable[[Json], None]]:
    """Open a file that takes row after row."""
    rows: list[Json] = []
    with pq.ParquetWriter(pa.PythonFile(writer, mode="w"), SCHEMA, compression="zstd") as parquet:

        def write_rows() -> None:
            if rows:
                parquet.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
                rows.clear()

        def write(row: Json) -> None:
            rows.append(row)
            if len(rows) == _ROWS:
                write_rows()

        yield write
        write_rows()


def _what_stays(row: Json, stays: Stays) -> Json | None:
    """Give a row without the images that go, the texts around each being one; None where all of it goes."""
    urls = [url for url in row["images"] if url is not None]
    chosen = stays(row["general_metadata"]["url"], urls)
    if chosen is None:
        return None
    left = iter(chosen)
    places: list[tuple[Json | None, str | None, str | None]] = []
    for metadata, url, text in zip(row["metadata"], row["images"], row["texts"], strict=True):
        if url is not None and not next(left):
            continue
        if text is not None and places and places[-1][2] is not None:
            places[-1] = (None, None, f"{places[-1][2]} {text}")
        else:
            places.append((metadata, url, text))
    return {
        "images": [url for _, url, _ in places],
        "metadata": orjson.dumps([metadata for metadata, _, _ in places]).decode(),
        "general_metadata": orjson.dumps(row["general_metadata"]).decode(),
        "texts": [text for _, _, text in places],
    }


def as_row(document: CutDocument) -> Json:
    """Give a document as a row: its sentences in order, each image before the sentence that it was assigned to."""
    places: list[Placed | str] = []
    images_of: dict[int, list[Placed]] = {}
    for item in document.placed:
        images_of.setdefault(item.sentence, []).append(item)
    for number, sentence in enumerate(document.page.sentences):
        places += images_of.get(number, [])
        if places and isinstance(places[-1], str):
            places[-1] = f"{places[-1]} {sentence}"
        else:
            places.append(sentence)
    metadata = [None if isinstance(place, str) else _metadata(document, place) for place in places]
    return {
        "images": [None if isinstance(place, str) else place.image.url for place in places],
        "metadata": orjson.dumps(metadata).decode(),
        "general_metadata": orjson.dumps({"url": document.page.url, "key": document.page.key}).decode(),
        "texts": [place if isinstance(place, str) else None for place in places],
    }


def _metadata(document: CutDocument, item: Placed) -> Json:
    link = next(link for link in document.page.links if link.position == item.image.position)
    known = {
        "document_url": document.page.url,
        "src": item.image.url,
        "alt_text": link.alt or None,
        "rendered_width": link.declared_width,
        "rendered_height": link.declared_height,
        "original_width": item.image.width,
        "original_height": item.image.height,
        "format": item.image.format,
        "image_name": image_name(item.image.url),
        "sha256": item.image.sha256,
        "matched_sim": round(item.similarity, DIGITS),
    }
    return {key: value for key, value in known.items() if value is not None}
