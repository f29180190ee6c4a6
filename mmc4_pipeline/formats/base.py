"""What a format is: how documents become a shard's file, and come back from it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, ClassVar

from mmc4_pipeline.dataset.cut import CutDocument
from mmc4_pipeline.storage import HashingWriter

Json = dict[str, Any]
Add = Callable[[CutDocument, Sequence[bytes]], None]  # a kept document and the JPEG of each image in `placed`
# Which of a document's images stay, by the URLs of its page and of the images; None: the whole document goes.
Stays = Callable[[str, Sequence[str]], Sequence[bool] | None]


class Format(ABC):
    """A frozen dataclass of the format's settings. Known by its module's name; shard 3 is shard 3 in every format.

    `folder` is where its shards lie below the dataset's own folder. `needs_images` is false where a format has links
    only, so that no image has to be read for it.
    """

    folder: ClassVar[str]
    needs_images: ClassVar[bool] = True

    @property
    @abstractmethod
    def extension(self) -> str:
        """Give the extension of a shard's file, without the first dot."""

    @abstractmethod
    def open_shard(self, writer: HashingWriter, stem: str) -> AbstractContextManager[Add]:
        """Begin a shard whose file is called `stem` without its extension; the same documents give the same bytes."""

    @abstractmethod
    def read_shard(self, stream: BinaryIO, path: str) -> Iterator[Json]:
        """Yield the documents of a shard as the format has them; raises UserError where it is damaged or none."""

    @abstractmethod
    def copy_shard(self, stream: BinaryIO, path: str, writer: HashingWriter, stem: str, stays: Stays) -> None:
        """Copy a shard, but for what goes: what remains is as `open_shard` writes documents that never had the rest.

        `stays` is asked for each document, in their order. Raises UserError as `read_shard` does.
        """

    def file_name(self, number: int) -> str:
        """Give the name of a shard's file, below the dataset's folder: "webdataset/shard-00003.tar"."""
        return f"{self.folder}/{self.stem(number)}.{self.extension}".lstrip("/")

    @staticmethod
    def stem(number: int) -> str:
        """Give the name of a shard's file without its extension."""
        return f"shard-{number:05d}"
