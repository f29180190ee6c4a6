"""Perceptual hashes: pHash of 64 bits, as the imagehash package computes it, but from an array decoded anyway."""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.fft import dct

_SIDE = 32  # the picture is reduced to 32 x 32 grey values
_LOW = 8  # of its frequencies the 8 x 8 lowest make the hash
_BASIS = dct(np.eye(_SIDE), type=2, axis=0)[:_LOW]  # gives these frequencies of a column, and no others


def phash(pixels: npt.NDArray[np.uint8]) -> int:
    """Give the hash of a grey image of shape (height, width), or a BGR one of (height, width, 3), as a 64-bit number.

    One bit a frequency, set where it is above the median (Zauner 2010, as in imagehash.phash with hash_size 8).
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if pixels.ndim == 3 else pixels
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    low = _BASIS @ small.astype(np.float64) @ _BASIS.T
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")
