"""Computes which shard of the dataset each document belongs to, before any of them is written.

Lay all kept documents of the dataset in a row, in the order of the image shards. Shard n of the dataset has the
documents that begin in the n-th stretch of `shard_bytes`. Hence all shards but the last are full: each ends with the
document that fills it, whatever the number of image shards that it needs. Where the documents of an image shard begin
follows from the sizes of those before it.

Sizes are estimates for OpenFlamingo's format, where images need the most space. A document counts for at most
`shard_bytes`, so that something begins in every stretch, and numbers have no gaps.
"""

from collections.abc import Iterable, Iterator

import msgspec

from mmc4_pipeline.cut_document import CutDocument

# The bytes that a document needs in addition to images and text: a high estimate, so that shards stay within limits.
_DOCUMENT, _IMAGE, _SIMILARITY, _FACE = 2048, 512, 10, 48


class KeptSize(msgspec.Struct, frozen=True):
    """The size in bytes of an image shard's kept documents, and that of the last one; 0 if nothing was kept."""

    bytes: int = 0
    last: int = 0


class Place(msgspec.Struct, frozen=True):
    """The size of all kept documents before an image shard, and how many of the dataset's shards begin before it."""

    start: int
    first: int


def expected_bytes(document: CutDocument) -> int:
    """Return a high estimate of the bytes that a document needs in an OpenFlamingo shard."""
    texts = sum(len(sentence.encode("utf-8", "replace")) for sentence in document.page.sentences)
    images = sum(4 * -(-(item.image.length or 0) // 3) for item in document.placed)  # base64
    values = len(document.placed) * len(document.page.sentences)
    faces = sum(len(item.image.face_detections or ()) for item in document.placed)
    return _DOCUMENT + texts + images + len(document.placed) * _IMAGE + values * _SIMILARITY + faces * _FACE


def kept_size(documents: Iterable[CutDocument], shard_bytes: int) -> KeptSize:
    """Return the size of the kept documents of an image shard."""
    total = last = 0
    for document in documents:
        if document.reason is None:
            last = _counted(document, shard_bytes)
            total += last
    return KeptSize(total, last)


def places(sizes: Iterable[KeptSize], shard_bytes: int) -> Iterator[Place]:
    """Yield the place of each image shard, and then that of the end: its `first` is the number of shards in all."""
    start = first = 0
    for size in sizes:
        yield Place(start, first)
        start += size.bytes
        if size.bytes:
            first = (start - size.last) // shard_bytes + 1
    yield Place(start, first)


def numbered(documents: Iterable[CutDocument], start: int, shard_bytes: int) -> Iterator[tuple[int, CutDocument]]:
    """Yield the kept documents of an image shard, each after the number of the dataset's shard that it belongs to."""
    for document in documents:
        if document.reason is None:
            yield start // shard_bytes, document
            start += _counted(document, shard_bytes)


def _counted(document: CutDocument, shard_bytes: int) -> int:
    return min(expected_bytes(document), shard_bytes)
