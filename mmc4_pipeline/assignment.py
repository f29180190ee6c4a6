"""Assigns a document's images to its sentences (MMC4, section 3.1)."""

from typing import Literal

import numpy as np
import numpy.typing as npt

Assignment = Literal["hungarian", "max"]


def assign(similarity: npt.ArrayLike, assignment: Assignment = "hungarian") -> npt.NDArray[np.int64]:
    """Give each image its sentence; `similarity` has the shape (images, sentences), the result (images,).

    `hungarian`: each image gets a sentence of its own, so that the sum of similarities is the largest there is. With
    more images than sentences, each sentence gets one image, again with the largest sum, and the images that this
    leaves over go to their most similar sentence each (as in MMC4's `scripts/compute_assignments.py`). Of several best
    assignments it is always the same one for the same matrix.
    `max`: each image goes to its most similar sentence, the first of several: the paper's alternative.
    Raises ValueError for anything but a matrix with at least one sentence and finite numbers.
    """
    matrix = _checked(similarity)
    sentences: npt.NDArray[np.int64] = np.zeros(len(matrix), dtype=np.int64)
    if assignment == "max" or len(matrix) > matrix.shape[1]:
        sentences = matrix.argmax(axis=1)
    if assignment == "hungarian":
        from scipy.optimize import linear_sum_assignment  # 34 MB in every worker of the stages that assign nothing

        images, matched = linear_sum_assignment(matrix, maximize=True)
        sentences[images] = matched
    return sentences


def _checked(similarity: npt.ArrayLike) -> npt.NDArray[np.floating]:
    try:
        matrix = np.asarray(similarity)
    except ValueError as error:  # rows of different lengths
        message = f"the similarity matrix is none: {error}"
        raise ValueError(message) from error
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        message = f"a matrix of images x sentences with at least one sentence is needed, not of shape {matrix.shape}"
        raise ValueError(message)
    if matrix.dtype.kind not in "fiu" or not np.isfinite(matrix).all():
        message = "the similarity matrix holds something that is no finite number"
        raise ValueError(message)
    return matrix
