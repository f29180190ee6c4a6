"""Reads stored images from the tars of the image shards, one tar at a time."""

from collections.abc import Callable
from typing import BinaryIO, Self

from mmc4_pipeline import storage
from mmc4_pipeline.tar import read_image
from schemas.image import Image


class ImageTars:
    """The tars of the image shards. `shard` is the one that images are read from; change it to go on to another.

    A tar is opened when its first image is read. `path_of` returns the path of a shard's tar.
    """

    def __init__(self, path_of: Callable[[int], str], shard: int) -> None:
        self.shard = shard
        self._path_of = path_of
        self._opened: tuple[int, BinaryIO] | None = None

    def __enter__(self) -> Self:
        """Return the tars; the open one is closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the open tar."""
        if self._opened:
            self._opened[1].close()
            self._opened = None

    def read(self, image: Image) -> bytes:
        """Return an image's JPEG; raises UserError if the tar is missing or truncated."""
        if self._opened is None or self._opened[0] != self.shard:
            self.__exit__()
            self._opened = (self.shard, storage.open_read(self._path_of(self.shard)))
        return read_image(self._opened[1], image.offset or 0, image.length or 0)
