"""Makes small copies of images. They are encoded again, so that the page has no bytes from the web."""

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from mmc4_pipeline.images.decoding.decode import encode

_QUALITY = 75


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small copy; `data` is base64 JPEG, empty if the image could not be decoded. Sizes are in pixels."""

    data: str = ""
    width: int = 0
    height: int = 0


def thumbnail(image: bytes, max_side: int) -> Thumbnail:
    """Return a copy of an image that is at most `max_side` pixels wide and high."""
    try:
        pixels = cv2.imdecode(np.frombuffer(image, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        pixels = None
    if pixels is None:
        return Thumbnail()
    height, width = pixels.shape[:2]
    scale = min(1.0, max_side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return Thumbnail(base64.b64encode(encode(small, _QUALITY)).decode("ascii"), *size)
