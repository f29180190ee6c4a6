"""Defines what a format must provide: writing a shard, reading it back, and copying it without some of its images."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.naming import PER_FOLDER, number_folder, number_name
from mmc4_pipeline.storage import HashingWriter
from mmc4_pipeline.tar import unreadable
from schemas.manifest import WrittenFile
from schemas.mmc4_document import ImageInfo, Mmc4Document

Json = dict[str, Any]
Add = Callable[[CutDocument, Sequence[bytes]], None]  # a kept document and the JPEG of each image in `placed`
# Takes a page's URL and those of its images. Returns for each image whether to keep it; None removes the document.
Choose = Callable[[str, Sequence[str]], Sequence[bool] | None]
_NAME = re.compile("(?:([0-9]{1,12})/)?shard-([0-9]{5,12})")


@dataclass(frozen=True, slots=True)
class DocumentView:
    """A stored document as every format can describe it.

    `image_urls` is in reading order. `sentences` is the number of sentences; it and `key`, the document's, are None if
    the format does not store them.
    """

    url: str
    image_urls: tuple[str, ...]
    sentences: int | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class FinishedShard:
    """A shard's file, named by its path below the dataset's folder, and how many documents it has."""

    file: WrittenFile
    documents: int


class Format(ABC):
    """A frozen dataclass of the format's settings, known by its module's name.

    `folder` holds its shards, below the dataset's own folder. A shard has the same number in every format.
    `needs_images` is false for a format that stores only links: no image is read to write it.
    `loader` is the builder of Hugging Face `datasets` that loads its shards, None if no builder does.
    `version` is raised when the bytes of its shards change, so that a resumed cut never mixes them.
    `in_order` is true if `read_shard` reads the file from its beginning to its end and never seeks.
    """

    folder: ClassVar[str]
    needs_images: ClassVar[bool] = True
    loader: ClassVar[str | None] = None
    version: ClassVar[int] = 1
    in_order: ClassVar[bool] = False

    def require(self) -> None:  # noqa: B027 - most formats need nothing
        """Raise UserError, which says what to install, if the format needs a package that is not there."""

    @property
    @abstractmethod
    def extension(self) -> str:
        """Return the extension of a shard's file, without the first dot."""

    @property
    @abstractmethod
    def media_type(self) -> str:
        """Return the media type of a shard's file."""

    @abstractmethod
    def open_shard(self, writer: HashingWriter, stem: str, /) -> AbstractContextManager[Add]:
        """Open a new shard, whose file name without extension is `stem`. The same documents give the same bytes."""

    def files_beside(self, _add: Add, _file: WrittenFile, /) -> dict[str, bytes]:
        """Return the small files that are stored next to a shard once it is written: content by name.

        `file` is the shard's, and `add` what `open_shard` gave for it. Names are below the dataset's folder.
        """
        return {}

    def described(self, _folder: str, _shard: FinishedShard, /) -> dict[str, bytes]:
        """Return the files of `files_beside` of a finished shard, whether they are there or not.

        `folder` is the dataset's. Raises UserError if the shard can't be read.
        """
        return {}

    def names_beside(self, _name: str, /) -> list[str]:
        """Return the names of the files that may be stored next to the shard's file of that name."""
        return []

    @abstractmethod
    def read_shard(self, stream: BinaryIO, path: str) -> Iterator[Json]:
        """Yield a shard's documents as the format stores them.

        Raises UserError, naming `path`, if the file is damaged or is not a shard of this format.
        """

    @abstractmethod
    def view(self, stored: Json) -> DocumentView:
        """Return a view of a document that `read_shard` yielded."""

    def documents(self, stream: BinaryIO, path: str) -> Iterator[DocumentView]:
        """Yield a view of each of a shard's documents, in order. Raises UserError as `read_shard` does."""
        for stored in self.read_shard(stream, path):
            try:
                view = self.view(stored)
            except (KeyError, TypeError, AttributeError) as error:
                raise unreadable(path, f"it has a document that is not of this format: {error!r}") from error
            yield view

    def mmc4_document(self, _stored: Json, /) -> Mmc4Document[ImageInfo] | None:
        """Return a document that `read_shard` yielded in MMC4's form, None if the format stores another form.

        Raises msgspec.ValidationError if it breaks MMC4's schema.
        """
        return None

    @classmethod
    def has_mmc4_documents(cls) -> bool:
        """Return whether the format has documents in MMC4's form."""
        return cls.mmc4_document is not Format.mmc4_document

    def jpeg(self, _stored: Json, _number: int, /) -> bytes | None:
        """Return one of the images, in reading order from 0, of a document that `read_shard` yielded.

        None if the format does not store images. Raises ValueError if the image is not stored as it must be.
        """
        return None

    @abstractmethod
    def copy_shard(self, stream: BinaryIO, path: str, writer: HashingWriter, stem: str, choose: Choose, /) -> None:
        """Copy a shard without what `choose` removes. It is called for each document, in order.

        The copy has the bytes that `open_shard` writes for documents that never had the removed images.
        Raises UserError as `read_shard` does.
        """

    def index_files(self, _folder: str, _shards: Sequence[FinishedShard], /) -> Iterator[tuple[str, BinaryIO]]:
        """Yield the files that describe the shards of a finished dataset: name below its folder, and content.

        `folder` is the dataset's. The same shards give the same files. The file that shows that all are there comes
        last. A stream can seek, and is read before the next file is requested. Raises UserError if a shard can't be
        read.
        """
        return iter(())

    def file_name(self, number: int, shards: int) -> str:
        """Return the name of a shard's file, below the dataset's folder: "webdataset/shard-00003.tar".

        `shards` is how many shards the dataset has. Numbers are as wide as that of the last one, and more than 10,000
        shards are in subfolders of 10,000: "webdataset/18/shard-182499.tar".
        """
        name = f"{number_folder(number, shards)}shard-{number_name(number, shards)}.{self.extension}"
        return f"{self.folder}/{name}".lstrip("/")

    def number_of(self, name: str) -> int | None:
        """Return the number of the shard whose file has that name below the dataset's folder, None if none has."""
        prefix, suffix = f"{self.folder}/".lstrip("/"), f".{self.extension}"
        stem = name.removeprefix(prefix).removesuffix(suffix)
        found = _NAME.fullmatch(stem)
        if found is None or name != prefix + stem + suffix:
            return None
        folder, number = found[1], int(found[2])
        return number if folder is None or int(folder) == number // PER_FOLDER else None

    def stem_of(self, name: str) -> str:
        """Return the name of a shard's file without its folder and extension: "shard-00003"."""
        return name.rpartition("/")[2].removesuffix(f".{self.extension}")
