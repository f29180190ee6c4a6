"""The picture of an image file, without what surrounds it."""

from dataclasses import dataclass

MAX_PROFILE = 1 << 20  # bytes of a colour profile; those of displays and cameras have less than 10,000


class NoPictureError(Exception):
    """The file has no picture; the message says why."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file reduced to its first picture, in the same format, for decoders that trust what they read.

    Decoders copy what a file's metadata points at, as often as it is pointed at, and reserve memory for lengths that a
    file merely declares. Here, every part is one that the file contains. `complete` is whether the end mark was found.
    `exif` starts with the TIFF header; `profile` is an ICC profile; both are empty if there is none.
    `is_regular` is whether the file has nothing but one well-formed picture and its metadata.
    """

    data: bytes
    complete: bool
    exif: bytes = b""
    profile: bytes = b""
    is_regular: bool = True
