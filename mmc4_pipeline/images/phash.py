"""Perceptual hashes: pHash of 64 bits, as the imagehash package computes it, but from an array decoded anyway."""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.fft import dctn

_SIDE = 32  # the picture is reduced to 32 x 32 grey values
_LOW = 8  # of its frequencies the 8 x 8 lowest make the hash


def phash(pixels: npt.NDArray[np.uint8]) -> int:
    """Give the hash of a BGR image of shape (height, width, 3) as a 64-bit number.

    One bit a frequency, set where it is above the median (Zauner 2010, as in imagehash.phash with hash_size 8).
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    low = dctn(small.astype(np.float64), type=2)[:_LOW, :_LOW]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")
