"""Pictures in all common formats of the web, and a comparison of decoded pictures."""

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image as PillowImage

from mmc4_pipeline.images.decoding.decode import Decoded, decode
from mmc4_pipeline.recipe import ImageSettings

SETTINGS = ImageSettings(max_side=800, jpeg_quality=90)
Photo = Callable[..., np.ndarray]


def pillow(pixels: np.ndarray) -> PillowImage.Image:
    return PillowImage.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def saved(image: PillowImage.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def decoded(body: bytes, settings: ImageSettings = SETTINGS) -> Decoded:
    result = decode(body, settings)
    assert isinstance(result, Decoded), result
    return result


def stored(result: Decoded) -> np.ndarray:
    """Return the stored JPEG's RGB pixels as Pillow decodes them."""
    image = PillowImage.open(io.BytesIO(result.jpeg))
    assert image.format == "JPEG"
    return np.asarray(image.convert("RGB"), dtype=np.int16)


def near(pixels: np.ndarray, other: np.ndarray, most: float = 4) -> bool:
    """Return whether two RGB pictures look the same."""
    return pixels.shape == other.shape and float(np.abs(pixels.astype(np.int16) - other).mean()) <= most


MAKERS: dict[str, Callable[[PillowImage.Image], bytes]] = {
    "jpeg": lambda image: saved(image, "JPEG", quality=92),
    "progressive": lambda image: saved(image, "JPEG", quality=92, progressive=True),
    "png": lambda image: saved(image, "PNG"),
    "webp": lambda image: saved(image, "WEBP", lossless=True, method=0),
    "lossy webp": lambda image: saved(image, "WEBP", method=0),
    "gif": lambda image: saved(image, "GIF"),
    "palette png": lambda image: saved(image.quantize(256), "PNG"),
    "rgba png": lambda image: saved(image.convert("RGBA"), "PNG"),
    "grey png": lambda image: saved(image.convert("L"), "PNG"),
    "mpo": lambda image: saved(image, "MPO", save_all=True, append_images=[image.rotate(180)]),
}
KINDS = list(MAKERS)
