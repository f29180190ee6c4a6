"""OBELICS' Parquet: one row per document; at each index exactly one of `images` and `texts` is not null.

As published (HuggingFaceM4/OBELICS), `images` holds URLs; the WebDataset shard of the same number has the bytes. Texts
and images are in the dataset's order; consecutive sentences without an image between them are one text, joined by
spaces. `metadata` and `general_metadata` are JSON strings with OBELICS' keys, to which this project adds
`image_name`, `sha256` (of the image as received), `matched_sim` and `key`.
"""

from collections.abc import Callable, Iterator, Sequence
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
from mmc4_pipeline.sequence import Part, images_of, sequence_of, texts_of, without_images
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
    """Return a row with only the images that `choose` keeps, None if it removes the document."""
    urls = _image_urls(row)
    chosen = choose(row["general_metadata"]["url"], urls)
    if chosen is None:
        return None
    parts = without_images(row["texts"], chosen)
    return _row(parts, urls, [item for item in row["metadata"] if item is not None], row["general_metadata"])


def as_row(document: CutDocument) -> Json:
    """Return a document as a row."""
    urls = [item.image.url for item in document.placed]
    metadata = [_metadata(document, item) for item in document.placed]
    general = {"url": document.page.url, "key": document.page.key}
    return _row(sequence_of(document), urls, metadata, general)


def _row(parts: Sequence[Part], urls: Sequence[str], metadata: Sequence[Json], general: Json) -> Json:
    """Return the row of a sequence. `urls` and `metadata` are those of the images by their numbers in the sequence."""
    return {
        "images": images_of(parts, urls),
        "metadata": orjson.dumps(images_of(parts, metadata)).decode(),
        "general_metadata": orjson.dumps(general).decode(),
        "texts": texts_of(parts),
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
