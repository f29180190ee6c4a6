"""What the first bytes of an image say, before anything is decoded: its type, size, and what decoding it would take."""

import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import ClassVar

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from schemas.reasons import Reason

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_PIXELS = 100_000_000  # a larger one is a bomb or a map, and neither is wanted
MAX_MEMORY = 400 << 20  # bytes that decoding may take: of one image, and of all that a process decodes side by side
MAX_SCANS = 100  # of a JPEG: real ones have a dozen, and each makes the decoder go over the whole picture
ORIENTATION = 0x0112  # the EXIF tag

# Ours is the bound on pixels. A filter of its own for each call would not do: such filters know nothing of threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Why bytes are no usable image."""

    reason: Reason
    error: str


@dataclass(frozen=True, slots=True)
class Header:
    """An image that may be decoded. `width` and `height` are pixels as they lie in the file, `orientation` is EXIF's.

    `memory` is what decoding takes at most, in bytes, at a `1/shrink` of its sides where that is not 1.
    """

    format: str
    width: int
    height: int
    orientation: int
    shrink: int
    memory: int
    as_received: bool  # an upright baseline JPEG in colour or grey: storing it again would only lose quality


def read_header(body: bytes, max_side: int) -> Header | Undecodable:
    """Read what Pillow finds without decoding anything, and refuse what must not be decoded.

    A JPEG can be decoded at a half, quarter or eighth; `max_side` says what is large enough.
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
    """Give the header of an image that Pillow has opened."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        return Undecodable(Reason.TOO_LARGE, f"{width} x {height} pixels")
    format_ = "JPEG" if image.format == "MPO" else str(image.format)  # a JPEG with more behind its end
    orientation, shrink, baseline = _orientation(image), 1, False
    if format_ == "JPEG":
        frame = _JpegFrame.find(body)
        refused = frame.refuse(body, width * height)
        if refused is not None:
            return refused
        shrink = next((factor for factor in (8, 4, 2) if max(width, height) >= factor * max_side), 1)
        memory = width * height * (3 / shrink**2 + (0 if frame.in_one_go else 2 * frame.components))
        baseline = image.format == "JPEG" and frame.is_baseline and image.mode in ("RGB", "L")
    elif not _is_complete(body, format_):
        return Undecodable(Reason.CORRUPT, f"{format_} cut short")
    else:
        memory = width * height * _bytes_a_pixel(image, body)
    if memory > MAX_MEMORY:
        return Undecodable(Reason.TOO_LARGE, f"{width} x {height} pixels, which take {memory / 1e6:.0f} MB to decode")
    return Header(format_, width, height, orientation, shrink, int(memory), baseline and orientation == 1)


def _orientation(image: PillowImage.Image) -> int:
    """Read the EXIF orientation, 1 to 8; an image whose EXIF is broken is upright, as browsers have it.

    Not by `getexif`, which decodes a whole PNG to look for EXIF data behind the picture.
    """
    exif = PillowImage.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        orientation = exif.get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - Pillow raises a dozen types for broken EXIF data
        return 1
    return orientation if orientation in range(1, 9) else 1


def _is_complete(body: bytes, format_: str) -> bool:
    """Tell whether a PNG or WebP goes on to its end: OpenCV may decode half a file and fill the rest."""
    if format_ == "PNG":
        return b"IEND" in body[-64:] or b"IEND\xaeB`\x82" in body
    return format_ != "WEBP" or len(body) >= int.from_bytes(body[4:8], "little") + 8


def _bytes_a_pixel(image: PillowImage.Image, body: bytes) -> int:
    """Give what decoding to BGR takes, as measured: OpenCV holds two copies, and two more of an animation."""
    if image.format == "GIF":
        return 12  # Pillow: a palette's, as RGBA, that as an array, and the result
    channels, result = 4, 3  # as if all were transparent, most of which could only be told from later chunks
    depth = 2 if image.format == "PNG" and body[24] == 16 else 1
    copies = 4 if getattr(image, "is_animated", False) else 2
    return copies * channels * depth + result


@dataclass(frozen=True, slots=True)
class _JpegFrame:
    """What the markers before a JPEG's picture data say (ITU T.81, B.2)."""

    start_of_frame: int  # the marker that says how it is coded; 0: there is none before the picture data
    components: int
    in_scan: int  # components in the first scan
    scan: int  # where the first scan begins
    _BASELINE: ClassVar = (0xC0,)
    _SEQUENTIAL: ClassVar = (0xC0, 0xC1)
    _HUFFMAN: ClassVar = (0xC0, 0xC1, 0xC2)
    _NO_FRAME: ClassVar = (0xC4, 0xC8, 0xCC)  # of C0 to CF those that start no frame

    @classmethod
    def find(cls, body: bytes) -> "_JpegFrame":
        """Walk over the segments up to the first scan."""
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
        """Tell whether any decoder takes it."""
        return self.start_of_frame in self._BASELINE

    @property
    def in_one_go(self) -> bool:
        """Tell whether it is decoded row by row; else the decoder first collects all coefficients, 2 bytes each."""
        return self.start_of_frame in self._SEQUENTIAL and self.in_scan == self.components

    def refuse(self, body: bytes, pixels: int) -> Undecodable | None:
        """Say what is wrong with the picture data, of which OpenCV would fill with grey whatever is missing."""
        if body.rfind(b"\xff\xd9", self.scan) < 0:  # an EXIF thumbnail before the scan has an end mark of its own
            return Undecodable(Reason.CORRUPT, "JPEG cut short")
        if not self.in_one_go and body.count(b"\xff\xda", self.scan) > MAX_SCANS:
            return Undecodable(Reason.TOO_LARGE, f"a JPEG of more than {MAX_SCANS} scans")
        # A block of 8 x 8 pixels takes a bit for its mean, and another for all else unless that may come for many.
        bits = 2 if self.start_of_frame in self._SEQUENTIAL else 1
        if self.start_of_frame in self._HUFFMAN and 8 * (len(body) - self.scan) < bits * pixels // 64:
            return Undecodable(Reason.CORRUPT, f"{len(body)} bytes can't hold a JPEG of {pixels} pixels")
        return None
