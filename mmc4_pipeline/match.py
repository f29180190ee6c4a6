"""Assigns a document's images to its sentences (MMC4, section 3.1)."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment


def assign(similarity: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Give each image its sentence: the largest sum of similarities with at most one image a sentence.

    `similarity` has the shape (images, sentences); the result, of shape (images,), holds sentence indices. If there
    are more images than sentences, those that the assignment leaves over go to their most similar sentence.
    Raises ValueError for a matrix without sentences, of another shape or with a value that is no number.
    """
    if similarity.ndim != 2 or similarity.shape[1] == 0:  # noqa: PLR2004 - images x sentences
        message = (
            f"a matrix of images x sentences with at least one sentence is needed, not of shape {similarity.shape}"
        )
        raise ValueError(message)
    if not np.isfinite(similarity).all():
        message = "the similarity matrix holds a value that is no finite number"
        raise ValueError(message)
    sentences = similarity.argmax(axis=1) if len(similarity) else np.zeros(0, dtype=np.int64)
    images, matched = linear_sum_assignment(similarity, maximize=True)
    sentences[images] = matched
    return sentences
