"""How sharp a picture is: the variance of its Laplacian, at one size for all."""

import cv2
import numpy as np
import numpy.typing as npt

LONGEST_SIDE = 400  # pixels


def at_one_size(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Bring a grey image to `LONGEST_SIDE`, so that what is measured on it can be compared.

    A smaller one is enlarged: it has no more to show.
    """
    height, width = grey.shape
    scale = LONGEST_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA
    return np.asarray(cv2.resize(grey, size, interpolation=method), dtype=np.uint8)


def sharpness(grey: npt.NDArray[np.uint8]) -> float:
    """Give the variance of the Laplacian (3 x 3, grey values 0 to 255) of what `at_one_size` gave.

    Pech-Pacheco et al. 2000.
    """
    edges = cv2.Laplacian(grey, cv2.CV_16S)
    # Sums of whole numbers: they do not depend on the order in which a processor adds.
    mean, square = cv2.sumElems(edges)[0] / edges.size, cv2.norm(edges, cv2.NORM_L2SQR) / edges.size
    return round(square - mean**2, 2)
