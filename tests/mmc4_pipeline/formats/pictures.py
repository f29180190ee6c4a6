"""Pictures for shards."""

import cv2
import numpy as np

from mmc4_pipeline.naming import stable_hash
from schemas.image import Image


def jpeg(image: Image) -> bytes:
    """Return a real JPEG, different for each URL."""
    pixels = np.random.default_rng(stable_hash(image.url)).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", pixels)[1])
