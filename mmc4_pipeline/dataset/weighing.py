"""The matrix that an assignment maximises: one matrix of scores, or a weighted sum of several.

A pair of an image and a sentence may have no value in a matrix: BLIP's ITM, for example, is computed only for the most
similar sentences of an image. Such a pair counts as the lowest value of the column's declared range, so that it is
chosen only if nothing better remains. An image that has no value at all in one of the matrices can't be compared with
others, and is dropped.
"""

from collections.abc import Sequence
from math import isfinite

import numpy as np
import numpy.typing as npt

from mmc4_pipeline.assignment import Assignment
from mmc4_pipeline.errors import UserError
from schemas.columns import SIMILARITY, Column
from schemas.reasons import Drop, Reason
from schemas.score import ImageScore


def weighted(
    scores: Sequence[ImageScore], assignment: Assignment, columns: Sequence[Column]
) -> npt.NDArray[np.floating]:
    """Return the matrix (images, sentences) that an assignment maximises; `columns` declares those that it names.

    CLIP's similarity alone is in float32, as it is stored; anything else is in float64.
    """
    if assignment.by == {SIMILARITY: 1.0}:
        return np.array([score.similarity for score in scores], dtype=np.float32)
    lowest = {item.name: item.range[0] for item in columns}
    return sum(
        (
            weight * np.array([_filled(score.values[name], lowest[name]) for score in scores], dtype=np.float64)
            for name, weight in assignment.by.items()
        ),
        start=np.zeros(()),
    )


def without_scores(score: ImageScore, assignment: Assignment) -> Drop | None:
    """Return the drop of an image that has no value in one of the assignment's matrices."""
    lacking = any(score.number(name) is None for name in assignment.by if name != SIMILARITY)
    return Drop(Reason.NOT_SCORED) if lacking else None


def check_rows(score: ImageScore, assignment: Assignment, sentences: int, what: str) -> None:
    """Raise UserError, naming `what`, if a row of a matrix is not one of finite numbers, one for each sentence."""
    for name in {SIMILARITY, *assignment.by}:
        row = score.values.get(name) or ()
        whole = name == SIMILARITY or bool(row)
        if (len(row) != sentences and whole) or not all(isfinite(value) for value in row if value is not None):
            raise UserError(
                f"{what}: expected {sentences} finite values of {name}, one per sentence; "
                "run `mmc4 score` again into another --output"
            )


def _filled(row: Sequence[float | None], lowest: float) -> list[float]:
    return [lowest if value is None else value for value in row]
