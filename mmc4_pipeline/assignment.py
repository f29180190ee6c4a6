"""Assigns a document's images to its sentences (MMC4, section 3.1)."""

from typing import Literal

import numpy as np
import numpy.typing as npt

Assignment = Literal["hungarian", "max"]


def assign(similarity: npt.ArrayLike, assignment: Assignment = "hungarian") -> npt.NDArray[np.int64]:
    """Return the sentence of each image; `similarity` has the shape (images, sentences), the result (images,).

    `hungarian`: each image gets a sentence of its own, such that the sum of similarities is as large as possible. If
    there are more images than sentences, each sentence gets one image in this way, and each of the remaining images
    gets its most similar sentence (as in MMC4's `scripts/compute_assignments.py`). If several assignments are equally
    good, the same matrix always gives the same one.
    `max`: each image gets its most similar sentence, the first one if several are equal. It is the paper's alternative.
    Raises ValueError unless the matrix has at least one sentence and only finite numbers.
    """
    matrix = _checked(similarity)
    sentences: npt.NDArray[np.int64] = np.zeros(len(matrix), dtype=np.int64)
    if assignment == "max" or len(matrix) > matrix.shape[1]:
        sentences = matrix.argmax(axis=1)
    if assignment == "hungarian":
        from scipy.optimize import (
            linear_sum_assignment,
        )  # here, because it takes 34 MB in each worker, also of other stages

        images, matched = linear_sum_assignment(matrix, maximize=True)
        sentences[images] = matched
    return sentences


def _checked(similarity: npt.ArrayLike) -> npt.NDArray[np.floating]:
    try:
        matrix = np.asarray(similarity)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"not a similarity matrix: {error}") from error
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(
            f"a matrix of images x sentences must have at least one sentence, but its shape is {matrix.shape}"
        )
    if matrix.dtype.kind not in "fiu" or not np.isfinite(matrix).all():
        raise ValueError("the similarity matrix contains a value that is not a finite number")
    return matrix
