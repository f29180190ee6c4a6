"""OBELICS' Parquet: one row per document; at each index exactly one of `images` and `texts` is not null.

As published (HuggingFaceM4/OBELICS), `images` holds URLs; the WebDataset shard of the same number has the bytes. An
image precedes the sentence that it was assigned to; consecutive sentences without an image between them are one text,
joined by spaces. `metadata` and `general_metadata` are JSON strings with OBELICS' keys, to which this project adds
`image_name`, `sha256` (of the image as received), `matched_sim` and `key`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mmc4_pipeline.cut_document import CutDocument, Placed
from mmc4_pipeline.formats.base import Add, Choose, DocumentView, Format, Json
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
_ROWS = 1000  # per row group; that many are held in memory


@dataclass(frozen=True)
class Obelics(Format):
    """Text and image links, without image bytes."""

    folder = "obelics"
    extension = "parquet"
    media_type = "application/x-parquet"
    needs_images = False
    loader = "parquet"

    @contextmanager
    def open_shard(self, writer: HashingWriter, _stem: str, /) -> Iterator[Add]:
        """Open a new shard."""
        with _writing(writer) as write:
            yield lambda document, _: write(as_row(document))

    def read_shard(self, stream: BinaryIO, path: str) -> Iterator[Json]:
        """Yield the rows, with `metadata` and `general_metadata` parsed."""
        try:
            for batch in pq.ParquetFile(pa.PythonFile(stream, mode="r")).iter_batches(columns=SCHEMA.names):
                for row in batch.to_pylist():
                    read = {key: orjson.loads(row[key]) for key in ("metadata", "general_metadata")}
                    yield {**row, **read}
        except (pa.ArrowException, OSError, orjson.JSONDecodeError) as error:
            raise unreadable(path, str(error).partition("\n")[0]) from error

    def view(self, stored: Json) -> DocumentView:
        """Return a view of a row. Its sentences are joined, so that their number is not known."""
        general = stored["general_metadata"]
        return DocumentView(general["url"], tuple(_image_urls(stored)), key=general.get("key"))

    def copy_shard(self, stream: BinaryIO, path: str, writer: HashingWriter, _stem: str, choose: Choose, /) -> None:
        """Copy a shard without what `choose` removes."""
        with _writing(writer) as write:
            for row in self.read_shard(stream, path):
                if (remaining := _with_chosen(row, choose)) is not None:
                    write(remaining)


def _image_urls(row: Json) -> list[str]:
    return [url for url in row["images"] if url is not None]


@contextmanager
def _writing(writer: HashingWriter) -> Iterator[Callable[[Json], None]]:
    """Open a new file and return the function that appends a row to it."""
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


def _with_chosen(row: Json, choose: Choose) -> Json | None:
    """Return a row with only the images that `choose` keeps, None if it removes the document.

    The texts before and after a removed image become one.
    """
    chosen = choose(row["general_metadata"]["url"], _image_urls(row))
    if chosen is None:
        return None
    keep = iter(chosen)
    places: list[tuple[Json | None, str | None, str | None]] = []
    for metadata, url, text in zip(row["metadata"], row["images"], row["texts"], strict=True):
        if url is not None and not next(keep):
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
    """Return a document as a row: its sentences in order, each image before the sentence that it was assigned to."""
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
