"""Computes perceptual hashes: the 64-bit pHash of the imagehash package, but from an array that is decoded anyway."""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.fft import dct

LONGEST_SIDE = 400  # pixels
_SIDE = 32  # the picture is reduced to 32 x 32 grey values
_LOW = 8  # the hash consists of the 8 x 8 lowest of its frequencies
_BASIS = dct(np.eye(_SIDE), type=2, axis=0)[:_LOW]  # computes only these frequencies of a column


def at_one_size(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Scale a grey image to `LONGEST_SIDE`, because a hash depends a little on the size it is computed from."""
    height, width = grey.shape
    scale = LONGEST_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA
    return np.asarray(cv2.resize(grey, size, interpolation=method), dtype=np.uint8)


def phash(pixels: npt.NDArray[np.uint8]) -> int:
    """Return the hash of a grey image of shape (height, width), or a BGR one of (height, width, 3), as a 64-bit number.

    There is one bit per frequency, set if it is above the median (Zauner 2010, as imagehash.phash with hash_size 8).
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if pixels.ndim == 3 else pixels
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    low = _BASIS @ small.astype(np.float64) @ _BASIS.T
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")
