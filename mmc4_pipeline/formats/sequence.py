"""The base of formats that store a document as one sequence of texts and images, with the images' bytes."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import compress
from typing import Any, BinaryIO, TypedDict

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.formats.base import Add, Choose, DocumentView, Format, Json
from mmc4_pipeline.sequence import sequence_of, texts_of, without_images
from mmc4_pipeline.storage import HashingWriter


class Row(TypedDict):
    """A document as a sequence.

    `texts` has None in place of each image, and no two texts in a row. `images` and `image_urls` have the images in
    order. `sentence_lengths` has the characters of each sentence, in order; a space is between two sentences of a text.
    """

    key: str
    url: str
    sentence_lengths: list[int]
    texts: list[str | None]
    images: list[bytes]
    image_urls: list[str]


class SequenceFormat(Format):
    """A format that stores rows. It defines how rows are written and read."""

    @abstractmethod
    def writing(self, writer: HashingWriter, stem: str) -> AbstractContextManager[Callable[[Row], None]]:
        """Open a new shard, named as in `open_shard`, and return the function that appends a row to it."""

    @abstractmethod
    def rows(self, stream: BinaryIO, path: str) -> Iterator[Any]:
        """Yield the rows of a shard. Raises UserError as `read_shard` does."""

    @contextmanager
    def open_shard(self, writer: HashingWriter, stem: str, /) -> Iterator[Add]:
        """Open a new shard."""
        with self.writing(writer, stem) as write:
            yield lambda document, images: write(_row(document, images))

    def read_shard(self, stream: BinaryIO, path: str) -> Iterator[Json]:
        """Yield the rows."""
        yield from self.rows(stream, path)

    def view(self, stored: Json) -> DocumentView:
        """Return a view of a row."""
        return DocumentView(stored["url"], tuple(stored["image_urls"]), len(stored["sentence_lengths"]), stored["key"])

    def jpeg(self, stored: Json, number: int, /) -> bytes:
        """Return an image."""
        return stored["images"][number]  # type: ignore[no-any-return]

    def copy_shard(self, stream: BinaryIO, path: str, writer: HashingWriter, stem: str, choose: Choose, /) -> None:
        """Copy a shard without what `choose` removes."""
        with self.writing(writer, stem) as write:
            for row in self.rows(stream, path):
                chosen = choose(row["url"], row["image_urls"])
                if chosen is not None:
                    write(_chosen(row, chosen))


def _row(document: CutDocument, images: Sequence[bytes]) -> Row:
    return Row(
        key=document.page.key,
        url=document.page.url,
        sentence_lengths=list(map(len, document.page.sentences)),
        texts=texts_of(sequence_of(document)),
        images=list(images),
        image_urls=[item.image.url for item in document.placed],
    )


def _chosen(row: Row, chosen: Sequence[bool]) -> Row:
    """Return a row with only the chosen images."""
    return Row(
        key=row["key"],
        url=row["url"],
        sentence_lengths=row["sentence_lengths"],
        texts=texts_of(without_images(row["texts"], chosen)),
        images=list(compress(row["images"], chosen)),
        image_urls=list(compress(row["image_urls"], chosen)),
    )
