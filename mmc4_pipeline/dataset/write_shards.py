"""Writes the shards of a dataset: which documents go into which, and their files in all formats at once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Self

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.cut import CutDocument
from mmc4_pipeline.formats.base import Format
from mmc4_pipeline.formats.registry import format_of
from mmc4_pipeline.stage_folder import StageFolder
from schemas.image import Image
from schemas.manifest import CutOptions, WrittenFile

# What a document takes beside its images and text, in bytes: a bit more than it does, so that shards stay below.
_DOCUMENT, _IMAGE, _SIMILARITY, _FACE = 2048, 512, 10, 48


@dataclass(frozen=True)
class DatasetSettings:
    """How a dataset is written: its formats by name, the first of which the ledger refers to, and a shard's size."""

    formats: Mapping[str, Format]
    shard_bytes: int

    def plan(self) -> CutOptions:
        """Return the settings as the stage's plan has them; the order of formats counts."""
        formats = [{"name": name, **asdict(item)} for name, item in self.formats.items()]  # type: ignore[call-overload]
        return CutOptions(formats=formats, shard_bytes=self.shard_bytes)

    @classmethod
    def of(cls, options: CutOptions) -> Self:
        """Return the settings that a plan has."""
        chosen = [dict(item) for item in options.formats]
        formats = {name: format_of(name, item) for item in chosen if (name := item.pop("name"))}
        return cls(formats, options.shard_bytes)

    def named_in_ledger(self, number: int) -> str:
        """Give the name of the file by which the ledger says where a document lies."""
        return next(iter(self.formats.values())).file_name(number)


def kept_in_parts(documents: Iterable[CutDocument], shard_bytes: int) -> Iterator[list[CutDocument]]:
    """Yield the documents that made it, in order, in parts of at most about `shard_bytes`; a part has at least one.

    The parts follow from what is known of the documents before any image is read, and are the same for all formats:
    sizes are those of OpenFlamingo's, where images take the most room.
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
    """Give about how many bytes a document takes in an OpenFlamingo shard, rather too many than too few."""
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
    """Write one shard in each of the formats; files are named below the dataset's folder.

    `read` gives an image's JPEG; it is asked once for each place of an image, in the documents' order.
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
    """Give the JPEG of each image in `placed`, read in the order of the tar."""
    in_tar = sorted((item.image for item in document.placed), key=_offset)
    found = {image.position: read(image) for image in in_tar}
    return [found[item.image.position] for item in document.placed]


def _offset(image: Image) -> int:
    return image.offset or 0


def write_sizes(folder: StageFolder, formats: Iterable[Format]) -> None:
    """Write `sizes.json` beside the shards of each format: how many documents each file has, as webdataset expects."""
    notes = (folder.note(shard) for shard in sorted(folder.done()))
    documents = {number: count for note in notes for number, count in (note.documents_in_shard or {}).items()}
    for item in formats:
        sizes = {item.file_name(number).rpartition("/")[2]: count for number, count in sorted(documents.items())}
        storage.write_json(folder.file(f"{item.folder}/sizes.json".lstrip("/")), sizes)
