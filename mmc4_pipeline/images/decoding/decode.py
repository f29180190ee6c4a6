"""Decodes an image once and returns its format, size, perceptual hash, and the JPEG to store."""

from dataclasses import dataclass, field
from io import BytesIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from mmc4_pipeline.images.decoding.colours import to_srgb
from mmc4_pipeline.images.decoding.containers.picture import NoPictureError, Picture
from mmc4_pipeline.images.decoding.containers.take_apart import take_apart
from mmc4_pipeline.images.decoding.header import MAX_MEMORY, Header, Undecodable, read_header
from mmc4_pipeline.images.decoding.memory_budget import MemoryBudget
from mmc4_pipeline.images.decoding.phash import at_one_size, phash
from mmc4_pipeline.recipe import ImageSettings
from schemas.reasons import Reason

_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_MIRRORED = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}  # for cv2.flip, after turning: 1 horizontal, 0 vertical, -1 both
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_STRIP = 1 << 20  # pixels that are converted to BGR at a time
_MEMORY = MemoryBudget(MAX_MEMORY)  # images are decoded in threads: large ones must not all be decoded at once

Pixels = npt.NDArray[np.uint8]

# OpenCV would log each broken image, of which the web is full; the ledger has the reason for each of them.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The measurements of an image, and the JPEG to store. `width` and `height` are those of the image as received.

    `pixels` is the decoded image for further measurements: upright, BGR, of shape (height, width, 3), with a longest
    side of at most the recipe's `max_side`. The stored JPEG has the same size.
    """

    format: str
    width: int
    height: int
    phash: int
    jpeg: bytes
    pixels: Pixels = field(compare=False, repr=False)


def decode(body: bytes, settings: ImageSettings) -> Decoded | Undecodable:
    """Decode the bytes of an image. Never raises: whatever the bytes are, one of the two types is returned.

    Waits while the images that other threads decode leave too little memory.
    """
    try:
        picture = take_apart(body)
    except NoPictureError as error:
        return Undecodable(Reason.CORRUPT, str(error))
    if picture is None:
        return Undecodable(Reason.NOT_AN_IMAGE, "neither JPEG, PNG, WebP nor GIF by its first bytes")
    header = read_header(picture, settings.max_side)
    if isinstance(header, Undecodable):
        return header
    with _MEMORY.reserve(header.memory):
        if not (picture.complete or (header.format != "WEBP" and _shown_by_pillow(picture.data, settings.max_side))):
            return Undecodable(Reason.CORRUPT, f"{header.format} cut short")
        pixels = _decode_pixels(picture.data, header)
        if pixels is None:
            return Undecodable(Reason.CORRUPT, f"{header.format} that can't be decoded")
        pixels = _upright(_shrink(pixels, header, settings.max_side), header.orientation)
    return _measured(pixels, header, body, picture, settings)


def _measured(pixels: Pixels, header: Header, body: bytes, picture: Picture, settings: ImageSettings) -> Decoded:
    """Return the measurements of an image, and its JPEG: the one that was received, or a new one in sRGB."""
    turned = header.orientation in _TURNED
    width, height = (header.height, header.width) if turned else (header.width, header.height)
    keep = header.as_received and max(width, height) <= settings.max_side
    if not keep:
        pixels = to_srgb(pixels, picture.profile, header.colours)
    grey = at_one_size(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), dtype=np.uint8))
    jpeg = body if keep else encode(pixels, settings.jpeg_quality)
    return Decoded(header.format.lower(), width, height, phash(grey), jpeg, pixels)


def encode(pixels: Pixels, quality: int) -> bytes:
    """Encode a BGR image as baseline JPEG."""
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def _shown_by_pillow(data: bytes, max_side: int) -> bool:
    """Return whether Pillow shows a picture without an end mark: unlike OpenCV, it never fills in missing data.

    It shows no WebP that is truncated.
    """
    try:
        with PillowImage.open(BytesIO(data)) as image:
            image.draft(None, (max_side, max_side))
            image.load()
    except Exception:  # noqa: BLE001 - Pillow raises a dozen types for broken files
        return False
    return True


def _decode_pixels(body: bytes, header: Header) -> Pixels | None:
    """Decode to BGR, not yet turned upright; the first frame of an animation. None if that fails."""
    try:
        match header.format:
            case "JPEG":
                return _opencv(body, _REDUCED[header.shrink] | cv2.IMREAD_IGNORE_ORIENTATION)
            case "GIF":
                return _gif(body)
            case _:
                return _opencv(body, cv2.IMREAD_UNCHANGED)
    except Exception:  # noqa: BLE001 - cv2.error, and whatever Pillow raises for a broken GIF
        return None


def _opencv(body: bytes, flags: int) -> Pixels | None:
    pixels = cv2.imdecode(np.frombuffer(body, dtype=np.uint8), flags)
    return None if pixels is None else _as_bgr(np.asarray(pixels))


def _gif(body: bytes) -> Pixels:
    """Decode with Pillow: three times as fast as OpenCV, which reads all frames to return the first."""
    with PillowImage.open(BytesIO(body), formats=("GIF",)) as image:
        rgba = np.asarray(image.convert("RGBA"))
    return _as_bgr(rgba)[:, :, ::-1]


def _as_bgr(pixels: npt.NDArray[np.uint8 | np.uint16]) -> Pixels:
    """Convert grey, 16-bit and transparent images to 8-bit BGR, on a white background; some rows at a time."""
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels.astype(np.uint8, copy=False)
    height, width = pixels.shape[:2]
    result = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP // width)
    for start in range(0, height, rows):
        result[start : start + rows] = _strip_as_bgr(pixels[start : start + rows])
    return result


def _strip_as_bgr(pixels: npt.NDArray[np.uint8 | np.uint16]) -> npt.NDArray[np.uint8]:
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    if channels == 4 and int(pixels[:, :, 3].min()) < 255:
        alpha = pixels[:, :, 3:].astype(np.uint16)
        return ((pixels[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return pixels[:, :, :3].astype(np.uint8, copy=False)


def _shrink(pixels: Pixels, header: Header, max_side: int) -> Pixels:
    """Reduce the longest side to `max_side` if it is longer.

    Reductions to more than a half are bilinear: as close to Lanczos as averaging areas, in a fifth of the time.
    """
    scale = max_side / max(header.width, header.height)
    if scale >= 1:
        return pixels
    size = (max(1, round(header.width * scale)), max(1, round(header.height * scale)))
    method = cv2.INTER_LINEAR if max(pixels.shape) < 2 * max_side else cv2.INTER_AREA
    return np.asarray(cv2.resize(pixels, size, interpolation=method), dtype=np.uint8)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn or mirror the pixels according to the EXIF orientation."""
    if orientation in _TURNED:
        pixels = np.asarray(cv2.transpose(pixels), dtype=np.uint8)
    mirror = _MIRRORED.get(orientation)
    return pixels if mirror is None else np.asarray(cv2.flip(pixels, mirror), dtype=np.uint8)
