"""Divides the documents of a dataset into shards and writes each shard in all formats in one pass."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Self

from mmc4_pipeline import storage
from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.formats.base import Format
from mmc4_pipeline.formats.registry import format_of
from mmc4_pipeline.stage_folder import StageFolder
from schemas.image import Image
from schemas.manifest import CutOptions, WrittenFile

# The bytes that a document needs in addition to images and text: a high estimate, so that shards stay within limits.
_DOCUMENT, _IMAGE, _SIMILARITY, _FACE = 2048, 512, 10, 48


@dataclass(frozen=True)
class DatasetSettings:
    """The formats of a dataset, by name, and the size of its shards. The ledger names files of the first format."""

    formats: Mapping[str, Format]
    shard_bytes: int

    def plan(self) -> CutOptions:
        """Return the settings as the stage's plan records them, with the formats in order."""
        formats = [{"name": name, **asdict(item)} for name, item in self.formats.items()]  # type: ignore[call-overload]
        return CutOptions(formats=formats, shard_bytes=self.shard_bytes)

    @classmethod
    def of(cls, options: CutOptions) -> Self:
        """Return the settings that a plan records."""
        chosen = [dict(item) for item in options.formats]
        formats = {name: format_of(name, item) for item in chosen if (name := item.pop("name"))}
        return cls(formats, options.shard_bytes)

    def named_in_ledger(self, number: int) -> str:
        """Return the file that the ledger names for the documents of a shard."""
        return next(iter(self.formats.values())).file_name(number)


def kept_in_parts(documents: Iterable[CutDocument], shard_bytes: int) -> Iterator[list[CutDocument]]:
    """Yield the kept documents in order, in parts of at least one document and at most about `shard_bytes`.

    The parts are known before any image is read, and are the same for all formats: sizes are estimated for
    OpenFlamingo's format, where images need the most space.
    """
    part: list[CutDocument] = []
    size = 0
    for document in documents:
        if document.reason is not None:
            continue
        more = expected_bytes(document)
        if part and size + more > shard_bytes:
            yield part
            part, size = [], 0
        part.append(document)
        size += more
    if part:
        yield part


def expected_bytes(document: CutDocument) -> int:
    """Return a high estimate of the bytes that a document needs in an OpenFlamingo shard."""
    texts = sum(len(sentence.encode("utf-8", "replace")) for sentence in document.page.sentences)
    images = sum(4 * -(-(item.image.length or 0) // 3) for item in document.placed)  # base64
    values = len(document.placed) * len(document.page.sentences)
    faces = sum(len(item.image.face_detections or ()) for item in document.placed)
    return _DOCUMENT + texts + images + len(document.placed) * _IMAGE + values * _SIMILARITY + faces * _FACE


def write_shard(
    folder: StageFolder,
    formats: Iterable[Format],
    number: int,
    documents: Sequence[CutDocument],
    read: Callable[[Image], bytes],
) -> list[WrittenFile]:
    """Write one shard in each of the formats and return the files, with their paths below the dataset's folder.

    `read` returns an image's JPEG. It is called once for each placed image, document by document.
    """
    formats = list(formats)
    needs_images = any(item.needs_images for item in formats)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(storage.write_atomically(folder.file(item.file_name(number)))) for item in formats
        ]
        adds = [
            stack.enter_context(item.open_shard(writer, item.stem(number)))
            for item, writer in zip(formats, writers, strict=True)
        ]
        for document in documents:
            images = _read_all(document, read) if needs_images else []
            for add in adds:
                add(document, images)
    return [
        WrittenFile(item.file_name(number), writer.position, writer.hexdigest())
        for item, writer in zip(formats, writers, strict=True)
    ]


def _read_all(document: CutDocument, read: Callable[[Image], bytes]) -> list[bytes]:
    """Return the JPEG of each image in `placed`. They are read in the order in which the tar stores them."""
    in_tar = sorted((item.image for item in document.placed), key=_offset)
    found = {image.position: read(image) for image in in_tar}
    return [found[item.image.position] for item in document.placed]


def _offset(image: Image) -> int:
    return image.offset or 0


def write_sizes(folder: StageFolder, formats: Iterable[Format]) -> None:
    """Write a `sizes.json` for each format: the number of documents in each file, in the form that webdataset reads."""
    documents = {number: count for note in folder.notes() for number, count in (note.documents_in_shard or {}).items()}
    for item in formats:
        sizes = {item.file_name(number).rpartition("/")[2]: count for number, count in sorted(documents.items())}
        storage.write_json(folder.file(f"{item.folder}/sizes.json".lstrip("/")), sizes)
