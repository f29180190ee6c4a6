"""Writes each shard of a dataset in all formats in one pass over its documents and images."""

import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import BinaryIO, Self

from mmc4_pipeline import storage
from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.formats.base import FinishedShard, Format
from mmc4_pipeline.formats.registry import format_of
from mmc4_pipeline.stage_folder import StageFolder
from schemas.image import Image
from schemas.manifest import CutOptions, CutPlan, Json, Manifest, WrittenFile

_CHUNK = 1 << 20
_FILLING = "across image shards"  # in the plan, so that a resumed cut has no shards that were filled in another way


def as_json(formats: Mapping[str, Format]) -> list[Json]:
    """Return formats as plans and manifests record them."""
    return [
        {"name": name, **asdict(item)} | ({"version": item.version} if item.version > 1 else {})  # type: ignore[call-overload]
        for name, item in formats.items()
    ]


@dataclass(frozen=True)
class DatasetSettings:
    """The formats of a dataset, by name, and the size of its shards. The ledger names files of the first format."""

    formats: Mapping[str, Format]
    shard_bytes: int

    def plan(self) -> CutOptions:
        """Return the settings as the stage's plan records them, with the formats in order."""
        return CutOptions(formats=as_json(self.formats), shard_bytes=self.shard_bytes, filling=_FILLING)

    @classmethod
    def of(cls, manifest: Manifest[CutPlan]) -> Self:
        """Return the settings of a dataset, with the formats in which it was written after it was cut."""
        options = manifest.plan.options
        chosen = [dict(item) for item in (*options.formats, *manifest.exported)]
        for item in chosen:
            item.pop("version", None)
        formats = {name: format_of(name, item) for item in chosen if (name := item.pop("name"))}
        return cls(formats, options.shard_bytes)

    def named_in_ledger(self, number: int, shards: int) -> str:
        """Return the file that the ledger names for the documents of one of the dataset's shards."""
        return next(iter(self.formats.values())).file_name(number, shards)


def write_shard(
    folder: StageFolder,
    formats: Iterable[Format],
    number: int,
    shards: int,
    documents: Iterable[CutDocument],
    read: Callable[[Image], bytes],
) -> list[WrittenFile]:
    """Write one of the dataset's shards in each format and return the files, named by their path in the dataset.

    `read` returns an image's JPEG. It is called once for each placed image, document by document, before the next
    document is taken.
    """
    formats = list(formats)
    names = [item.file_name(number, shards) for item in formats]
    needs_images = any(item.needs_images for item in formats)
    with ExitStack() as stack:
        writers = [stack.enter_context(storage.write_atomically(folder.file(name))) for name in names]
        adds = [
            stack.enter_context(item.open_shard(writer, item.stem_of(name)))
            for item, writer, name in zip(formats, writers, names, strict=True)
        ]
        for document in documents:
            images = _read_all(document, read) if needs_images else []
            for add in adds:
                add(document, images)
    written = [
        WrittenFile(name, writer.position, writer.hexdigest()) for name, writer in zip(names, writers, strict=True)
    ]
    for item, add, file in zip(formats, adds, written, strict=True):
        for name, content in item.files_beside(add, file).items():
            storage.write_bytes(folder.file(name), content)
    return written


def _read_all(document: CutDocument, read: Callable[[Image], bytes]) -> list[bytes]:
    """Return the JPEG of each image in `placed`. They are read in the order in which the tar stores them."""
    in_tar = sorted((item.image for item in document.placed), key=_offset)
    found = {image.position: read(image) for image in in_tar}
    return [found[item.image.position] for item in document.placed]


def _offset(image: Image) -> int:
    return image.offset or 0


def write_indexes(folder: StageFolder, formats: Iterable[Format]) -> None:
    """Write the files that describe the shards of a finished dataset: `sizes.json`, and those of each format.

    `sizes.json` has the number of documents in each file, in the form that webdataset reads.
    """
    documents: Counter[int] = Counter()
    files: list[WrittenFile] = []
    for note in folder.notes():
        documents.update(note.documents_in_shard or {})
        files += note.files
    for item in formats:
        by_number = {number: file for file in files if (number := item.number_of(file.name)) is not None}
        shards = [FinishedShard(file, documents[number]) for number, file in sorted(by_number.items())]
        sizes = {shard.file.name.rpartition("/")[2]: shard.documents for shard in shards}
        storage.write_json(folder.file(f"{item.folder}/sizes.json".lstrip("/")), sizes)
        if item.names_beside(""):
            deque(storage.concurrently(partial(_write_described, folder, item), shards), maxlen=0)
        for name, content in item.index_files(folder.path, shards):
            if storage.exists(folder.file(name)) and is_stored(content, folder.file(name)):
                continue  # a takedown writes no file of a shard without removed content
            content.seek(0)
            with storage.write_atomically(folder.file(name)) as writer:
                shutil.copyfileobj(content, writer)


def _write_described(folder: StageFolder, item: Format, shard: FinishedShard) -> None:
    for name, content in item.described(folder.path, shard).items():
        if not storage.exists(folder.file(name)) or storage.read_bytes(folder.file(name)) != content:
            storage.write_bytes(folder.file(name), content)


def is_stored(content: BinaryIO, path: str) -> bool:
    """Return whether a file has this content."""
    with storage.open_read(path) as stream:
        while data := stream.read(_CHUNK):
            if data != content.read(len(data)):
                return False
    return not content.read(1)
