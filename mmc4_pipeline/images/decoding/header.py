"""Reads an image's header without decoding it: its format, its size, and how much memory decoding would take."""

import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import ClassVar

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from schemas.reasons import Reason

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_PIXELS = 100_000_000  # a larger image is a decompression bomb or a map; neither is wanted
MAX_MEMORY = 400 << 20  # bytes for decoding: for one image, and for all that a process decodes concurrently
MAX_SCANS = 100  # of a JPEG: real ones have a dozen, and the decoder goes over the whole picture for each
ORIENTATION = 0x0112  # the EXIF tag

# MAX_PIXELS replaces Pillow's own bound, which warns. A filter per call is impossible: warning filters are not
# thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


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
    as_received: bool  # an upright baseline JPEG in colour or grey: storing it again would only lose quality


def read_header(body: bytes, max_side: int) -> Header | Undecodable:
    """Read a header with Pillow, without decoding anything, and refuse images that must not be decoded.

    A JPEG can be decoded at a half, a quarter or an eighth of its size; `max_side` is the size that is large enough.
    """
    try:
        with PillowImage.open(BytesIO(body), formats=FORMATS) as image:
            return _checked(image, body, max_side)
    except UnidentifiedImageError:
        return Undecodable(Reason.NOT_AN_IMAGE, "neither JPEG, PNG, WebP nor GIF by its first bytes")
    except PillowImage.DecompressionBombError as error:
        return Undecodable(Reason.TOO_LARGE, str(error))
    except Exception as error:  # noqa: BLE001 - Pillow raises a dozen types for broken headers
        return Undecodable(Reason.CORRUPT, f"broken header: {error}")


def _checked(image: PillowImage.Image, body: bytes, max_side: int) -> Header | Undecodable:
    """Return the header of an image that Pillow has opened."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        return Undecodable(Reason.TOO_LARGE, f"{width} x {height} pixels")
    format_ = "JPEG" if image.format == "MPO" else str(image.format)  # MPO: a JPEG followed by other images
    orientation, shrink, baseline = _orientation(image), 1, False
    if format_ == "JPEG":
        frame = _JpegFrame.find(body)
        refused = frame.refuse(body, width * height)
        if refused is not None:
            return refused
        shrink = next((factor for factor in (8, 4, 2) if max(width, height) >= factor * max_side), 1)
        memory = width * height * (3 / shrink**2 + (0 if frame.is_sequential else 2 * frame.components))
        baseline = image.format == "JPEG" and frame.is_baseline and image.mode in ("RGB", "L")
    elif not _is_complete(body, format_):
        return Undecodable(Reason.CORRUPT, f"{format_} cut short")
    else:
        memory = width * height * _bytes_per_pixel(image, body)
    if memory > MAX_MEMORY:
        return Undecodable(Reason.TOO_LARGE, f"{width} x {height} pixels, which take {memory / 1e6:.0f} MB to decode")
    return Header(format_, width, height, orientation, shrink, int(memory), baseline and orientation == 1)


def _orientation(image: PillowImage.Image) -> int:
    """Return the EXIF orientation, 1 to 8; an image with broken EXIF data is upright, as in browsers.

    `getexif` is not used because it decodes a whole PNG to look for EXIF data after the picture.
    """
    exif = PillowImage.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        orientation = exif.get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - Pillow raises a dozen types for broken EXIF data
        return 1
    return orientation if orientation in range(1, 9) else 1


def _is_complete(body: bytes, format_: str) -> bool:
    """Return whether a PNG or WebP has its end: OpenCV may decode half a file and fill in the rest."""
    if format_ == "PNG":
        return b"IEND" in body[-64:] or b"IEND\xaeB`\x82" in body
    return format_ != "WEBP" or len(body) >= int.from_bytes(body[4:8], "little") + 8


def _bytes_per_pixel(image: PillowImage.Image, body: bytes) -> int:
    """Return the memory for decoding to BGR, as measured: OpenCV has two copies, and two more of an animation."""
    if image.format == "GIF":
        return 12  # Pillow: the palette image, RGBA, the same as an array, and the result
    channels, result = 4, 3  # as if every image were transparent: often only later chunks show whether it is
    depth = 2 if image.format == "PNG" and body[24] == 16 else 1
    copies = 4 if getattr(image, "is_animated", False) else 2
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
        while position + 4 <= len(body) and body[position] == 0xFF:  # the first byte of every marker
            marker = body[position + 1]
            if marker == 0xFF:
                position += 1
                continue
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
        if body.rfind(b"\xff\xd9", self.scan) < 0:  # searched after the scan: an EXIF thumbnail has its own end mark
            return Undecodable(Reason.CORRUPT, "JPEG cut short")
        if not self.is_sequential and body.count(b"\xff\xda", self.scan) > MAX_SCANS:
            return Undecodable(Reason.TOO_LARGE, f"a JPEG of more than {MAX_SCANS} scans")
        # A block of 8 x 8 pixels takes one bit for its mean, and one for the rest unless blocks can share that one.
        bits = 2 if self.start_of_frame in self._SEQUENTIAL else 1
        if self.start_of_frame in self._HUFFMAN and 8 * (len(body) - self.scan) < bits * pixels // 64:
            return Undecodable(Reason.CORRUPT, f"{len(body)} bytes can't hold a JPEG of {pixels} pixels")
        return None
