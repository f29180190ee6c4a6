"""Reads an image's header without decoding it: its format, its size, and how much memory decoding would take."""

import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import ClassVar

from PIL import Image as PillowImage

from mmc4_pipeline.images.decoding.containers.picture import Picture
from mmc4_pipeline.images.decoding.exif import is_harmless, orientation_of
from schemas.reasons import Reason

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_PIXELS = 100_000_000  # a larger image is a decompression bomb or a map; neither is wanted
MAX_MEMORY = 400 << 20  # bytes for decoding: for one image, and for all that a process decodes concurrently
MAX_SCANS = 100  # of a JPEG: real ones have a dozen, and the decoder goes over the whole picture for each

# MAX_PIXELS replaces Pillow's own bound, which warns. A filter per call is impossible: warning filters are not
# thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


_COLOURS = {**dict.fromkeys(("RGB", "RGBA", "P"), "RGB"), **dict.fromkeys(("1", "L", "LA", "I", "I;16"), "GRAY")}


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Why bytes are not a usable image."""

    reason: Reason
    error: str


@dataclass(frozen=True, slots=True)
class Header:
    """An image that may be decoded. `width` and `height` are pixels as stored in the file, `orientation` is EXIF's.

    `memory` is the most that decoding takes, in bytes. `shrink` is the factor by which the decoder reduces the sides.
    """

    format: str
    width: int
    height: int
    orientation: int
    shrink: int
    memory: int
    colours: str  # what a colour profile for it is for, as profiles name it: "RGB", "GRAY", or empty for others
    as_received: bool  # a sound, upright baseline JPEG in colour or grey: storing it again would only lose quality


def read_header(picture: Picture, max_side: int) -> Header | Undecodable:
    """Read a header with Pillow, without decoding anything, and refuse images that must not be decoded.

    A JPEG can be decoded at a half, a quarter or an eighth of its size; `max_side` is the size that is large enough.
    """
    try:
        with PillowImage.open(BytesIO(picture.data), formats=FORMATS) as image:
            return _checked(image, picture, max_side)
    except PillowImage.DecompressionBombError as error:
        return Undecodable(Reason.TOO_LARGE, str(error))
    except Exception as error:  # noqa: BLE001 - Pillow raises a dozen types for broken headers
        return Undecodable(Reason.CORRUPT, f"broken header: {type(error).__name__}")


def _checked(image: PillowImage.Image, picture: Picture, max_side: int) -> Header | Undecodable:
    """Return the header of an image that Pillow has opened."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        return Undecodable(Reason.TOO_LARGE, f"{width} x {height} pixels")
    format_, orientation, shrink, as_received = str(image.format), orientation_of(picture.exif), 1, False
    if format_ == "JPEG":
        frame = _JpegFrame.find(picture.data)
        refused = frame.refuse(picture.data, width * height)
        if refused is not None:
            return refused
        shrink = next((factor for factor in (8, 4, 2) if max(width, height) >= factor * max_side), 1)
        memory = width * height * (3 / shrink**2 + (0 if frame.is_sequential else 2 * frame.components))
        is_plain = frame.is_baseline and image.mode in ("RGB", "L") and orientation == 1
        as_received = is_plain and picture.is_regular and is_harmless(picture.exif)
    else:
        memory = width * height * _bytes_per_pixel(image, picture.data)
    if memory > MAX_MEMORY:
        return Undecodable(Reason.TOO_LARGE, f"{width} x {height} pixels, which take {memory / 1e6:.0f} MB to decode")
    return Header(format_, width, height, orientation, shrink, int(memory), _COLOURS.get(image.mode, ""), as_received)


def _bytes_per_pixel(image: PillowImage.Image, body: bytes) -> int:
    """Return the memory for decoding to BGR, as measured: OpenCV has two copies, and two more of an animation."""
    if image.format == "GIF":
        return 12  # Pillow: the palette image, RGBA, the same as an array, and the result
    channels, result = 4, 3  # as if every image were transparent: often only later chunks show whether it is
    depth = 2 if image.format == "PNG" and body[24] == 16 else 1
    copies = 4 if b"ANIM" in body[:60] else 2  # an animated WebP
    return copies * channels * depth + result


@dataclass(frozen=True, slots=True)
class _JpegFrame:
    """The contents of the markers before a JPEG's picture data (ITU T.81, B.2)."""

    start_of_frame: int  # the marker for the coding process; 0 if there is none before the picture data
    components: int
    in_scan: int  # components in the first scan
    scan: int  # position of the first scan
    _BASELINE: ClassVar = (0xC0,)
    _SEQUENTIAL: ClassVar = (0xC0, 0xC1)
    _HUFFMAN: ClassVar = (0xC0, 0xC1, 0xC2)
    _NO_FRAME: ClassVar = (0xC4, 0xC8, 0xCC)  # markers from C0 to CF that do not start a frame

    @classmethod
    def find(cls, body: bytes) -> "_JpegFrame":
        """Read the segments up to the first scan."""
        start_of_frame = components = 0
        position = 2
        while position + 4 <= len(body):
            marker = body[position + 1]
            if marker == 0xDA:  # start of scan
                return cls(start_of_frame, components, body[position + 4], position)
            if 0xC0 <= marker <= 0xCF and marker not in cls._NO_FRAME:
                start_of_frame, components = marker, body[position + 9]
            position += 2 + int.from_bytes(body[position + 2 : position + 4], "big")
        return cls(start_of_frame, components, 0, len(body))

    @property
    def is_baseline(self) -> bool:
        """Return whether every decoder can read it."""
        return self.start_of_frame in self._BASELINE

    @property
    def is_sequential(self) -> bool:
        """Return whether it is decoded row by row; otherwise all coefficients are collected first, 2 bytes each."""
        return self.start_of_frame in self._SEQUENTIAL and self.in_scan == self.components

    def refuse(self, body: bytes, pixels: int) -> Undecodable | None:
        """Return what is wrong with the picture data, or None: OpenCV would fill missing data with grey."""
        if not self.is_sequential and body.count(b"\xff\xda", self.scan) > MAX_SCANS:
            return Undecodable(Reason.TOO_LARGE, f"a JPEG of more than {MAX_SCANS} scans")
        # A block of 8 x 8 pixels takes one bit for its mean, and one for the rest unless blocks can share that one.
        bits = 2 if self.start_of_frame in self._SEQUENTIAL else 1
        if self.start_of_frame in self._HUFFMAN and 8 * (len(body) - self.scan) < bits * pixels // 64:
            return Undecodable(Reason.CORRUPT, f"{len(body)} bytes can't hold a JPEG of {pixels} pixels")
        return None
