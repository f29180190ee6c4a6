"""Decodes an image once: what it is, how large, its perceptual hash, and the JPEG to store."""

import warnings
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from mmc4_pipeline.images.phash import phash
from mmc4_pipeline.recipe import ImageSettings
from schemas.reasons import Reason

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_PIXELS = 100_000_000  # 300 MB decoded; a larger one is a bomb or a map, and neither is wanted
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_MIRRORED = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}  # how cv2.flip mirrors what was turned: 1 across, 0 down, -1 both
_ORIENTATION = 0x0112

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was measured on an image, and the JPEG to store. `width` and `height` are upright, as received."""

    format: str
    width: int
    height: int
    phash: int
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Why bytes are no usable image."""

    reason: Reason
    error: str


@dataclass(frozen=True, slots=True)
class _Header:
    """What the first bytes of an image say, before anything is decoded."""

    format: str
    width: int
    height: int
    orientation: int
    as_received: bool  # an upright baseline JPEG in colour or grey: storing it again would only lose quality


def decode(body: bytes, settings: ImageSettings) -> Decoded | Undecodable:
    """Decode the bytes that a link answered. Never raises: whatever the web sends ends in one of the two."""
    header = _read_header(body)
    if isinstance(header, Undecodable):
        return header
    if not _is_complete(body, header.format):
        return Undecodable(Reason.CORRUPT, f"{header.format} cut short")
    turned = header.orientation in _TURNED
    width, height = (header.height, header.width) if turned else (header.width, header.height)
    longest = max(width, height)
    pixels = _decode_pixels(body, header.format, longest, settings.max_side)
    if pixels is None:
        return Undecodable(Reason.CORRUPT, f"{header.format} that can't be decoded")
    small = _upright(_shrink(pixels, settings.max_side), header.orientation)
    keep = header.as_received and longest <= settings.max_side
    jpeg = body if keep else encode(small, settings.jpeg_quality)
    return Decoded(header.format.lower(), width, height, phash(small), jpeg)


def encode(pixels: Pixels, quality: int) -> bytes:
    """Encode a BGR image as baseline JPEG."""
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def _read_header(body: bytes) -> _Header | Undecodable:
    """Read format, size and orientation with Pillow, which decodes nothing until asked to."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own bound on pixels follows
            with PillowImage.open(BytesIO(body), formats=FORMATS) as image:
                width, height = image.size
                orientation = _orientation(image)
                plain = image.format == "JPEG" and image.mode in ("RGB", "L") and "progressive" not in image.info
                format_ = "JPEG" if image.format == "MPO" else str(image.format)  # a JPEG with more behind its end
                header = _Header(format_, width, height, orientation, as_received=plain and orientation == 1)
    except UnidentifiedImageError:
        return Undecodable(Reason.NOT_AN_IMAGE, "neither JPEG, PNG, WebP nor GIF by its first bytes")
    except PillowImage.DecompressionBombError as error:
        return Undecodable(Reason.TOO_LARGE, str(error))
    except Exception as error:  # noqa: BLE001 - Pillow raises a dozen types for broken headers
        return Undecodable(Reason.CORRUPT, f"broken header: {error}")
    if width * height > MAX_PIXELS:
        return Undecodable(Reason.TOO_LARGE, f"{width} x {height} pixels")
    return header


def _orientation(image: PillowImage.Image) -> int:
    """Read the EXIF orientation, 1 to 8; an image whose EXIF is broken is upright, as browsers have it.

    Not by `getexif`, which decodes a whole PNG to look for EXIF data behind the picture.
    """
    exif = PillowImage.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        orientation = exif.get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - Pillow raises a dozen types for broken EXIF data
        return 1
    return orientation if orientation in range(1, 9) else 1


def _is_complete(body: bytes, format_: str) -> bool:
    """Tell whether the file goes on to its end mark: OpenCV decodes half a file and fills the rest with grey."""
    match format_:
        case "JPEG":
            return body.find(b"\xff\xd9", _start_of_scan(body)) >= 0
        case "PNG":
            return b"IEND" in body[-64:] or b"IEND\xaeB`\x82" in body
        case "WEBP":
            return len(body) >= int.from_bytes(body[4:8], "little") + 8
        case _:
            return True


def _start_of_scan(body: bytes) -> int:
    """Give where a JPEG's picture data begins: an EXIF thumbnail before it has an end mark of its own."""
    position = 2
    while position + 4 <= len(body) and body[position] == 0xFF:  # noqa: PLR2004 - the marker byte of ITU T.81
        if body[position + 1] == 0xDA:  # noqa: PLR2004 - start of scan
            return position
        if body[position + 1] == 0xFF:  # noqa: PLR2004 - a fill byte before the marker
            position += 1
            continue
        position += 2 + int.from_bytes(body[position + 2 : position + 4], "big")
    return len(body)


def _decode_pixels(body: bytes, format_: str, longest: int, max_side: int) -> Pixels | None:
    """Decode to BGR, not turned yet; JPEGs at a half, quarter or eighth where that is large enough. None: it fails."""
    flags = cv2.IMREAD_COLOR
    if format_ == "JPEG":
        steps = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))
        flags = next((flag for factor, flag in steps if longest >= factor * max_side), flags)
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    elif format_ in ("PNG", "WEBP"):
        flags = cv2.IMREAD_UNCHANGED
    try:
        pixels = cv2.imdecode(np.frombuffer(body, dtype=np.uint8), flags)
    except cv2.error:
        return None
    return None if pixels is None else _as_bgr(np.asarray(pixels))


def _as_bgr(pixels: npt.NDArray[np.uint8 | np.uint16]) -> Pixels:
    """Bring grey, 16-bit and transparent images to 8-bit BGR, transparent ones on white."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]  # noqa: PLR2004 - height and width alone
    if channels == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    if channels == 4:  # noqa: PLR2004 - blue, green, red, alpha
        alpha = pixels[:, :, 3:].astype(np.uint16)
        return ((pixels[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return pixels.astype(np.uint8, copy=False)


def _shrink(pixels: Pixels, max_side: int) -> Pixels:
    height, width = pixels.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn or mirror the pixels as the EXIF orientation asks."""
    if orientation in _TURNED:
        pixels = np.asarray(cv2.transpose(pixels), dtype=np.uint8)
    mirror = _MIRRORED.get(orientation)
    return pixels if mirror is None else np.asarray(cv2.flip(pixels, mirror), dtype=np.uint8)
