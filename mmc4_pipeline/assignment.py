"""Assigns a document's images to its sentences: by similarity (MMC4, section 3.1), by their place on the page, or both.

The place of an image is its gap: the number of sentences that stand before it, from 0 to the number of sentences. In
page order an image goes to the sentence that follows it, and to the last sentence if none follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, MinLen

from schemas.columns import SIMILARITY

Method = Literal["hungarian", "max", "page", "published"]
Gaps = Sequence[int | None]
Matrix = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Assignment:
    """How a recipe assigns images to sentences. A bare word in a recipe is the method alone.

    `method`: `hungarian`, `max`, `page` or `published`, as in `assign`.
    `window`: largest distance, in sentences, between an image's sentence and the one that page order gives it. None
    means any distance. An image whose place is not known may go to any sentence.
    `by`: the scores to maximise and their weights; a bare word is one score of weight 1.
    """

    method: Method = "hungarian"
    window: Annotated[int, Ge(0)] | None = None
    by: Annotated[dict[str, Annotated[float, Gt(0)]], MinLen(1)] = field(default_factory=lambda: {SIMILARITY: 1.0})

    def __post_init__(self) -> None:
        """Raise ValueError if the method computes nothing but has a window or scores."""
        if self.method in ("page", "published") and (self.window is not None or self.by != {SIMILARITY: 1.0}):
            raise ValueError(
                f"method {self.method} has neither window nor by; to combine page order and similarity, use "
                "{method: hungarian, window: 3}"
            )

    @property
    def needs_places(self) -> bool:
        """Return whether it depends on where the images stand on the page."""
        return self.method == "page" or self.window is not None

    def to_json(self) -> str | dict[str, Any]:
        """Return the shortest form in which a recipe may say it: the bare method if nothing else is set."""
        settings: dict[str, Any] = {"method": self.method}
        if self.window is not None:
            settings["window"] = self.window
        if self.by != {SIMILARITY: 1.0}:
            settings["by"] = next(iter(self.by)) if list(self.by.values()) == [1.0] else self.by
        return self.method if len(settings) == 1 else settings


def as_mapping(settings: str | dict[str, Any]) -> dict[str, Any]:
    """Return an assignment of a recipe in its longest form: a bare word is the method, and a bare `by` one score."""
    if isinstance(settings, str):
        return {"method": settings}
    by = settings.get("by")
    return {**settings, "by": {by: 1.0}} if isinstance(by, str) else settings


def assign(
    similarity: npt.ArrayLike,
    assignment: Assignment | None = None,
    gaps: Gaps = (),
    published: Sequence[int | None] = (),
) -> npt.NDArray[np.int64]:
    """Return the sentence of each image; `similarity` has the shape (images, sentences), the result (images,).

    `gaps` has the gap of each image, None if its place is not known. It may be empty if no place is needed. `published`
    has the sentence that a publisher has assigned each image to, None if there is none; only the method of that name
    needs it. The default assignment is `hungarian`.
    `hungarian`: each image gets a sentence of its own, such that the sum of similarities is as large as possible. If
    there are more images than sentences, each sentence gets one image in this way, and each of the remaining images
    gets its most similar sentence (as in MMC4's `scripts/compute_assignments.py`). If several assignments are equally
    good, the same matrix always gives the same one.
    `hungarian` with a window: as many images as possible get a sentence of their own within the window; among such
    assignments the sum is as large as possible. Each remaining image gets the most similar sentence within its window.
    `max`: each image gets its most similar sentence (within the window), the first one if several are equal. It is the
    paper's alternative.
    `page`: each image gets the sentence that follows it, the last one if none follows; images may share a sentence.
    `published`: each image gets the sentence that the publisher had assigned it to, or else its most similar one.
    Raises ValueError unless the matrix has at least one sentence and only finite numbers, or if `page` lacks a place.
    """
    assignment = assignment or Assignment()
    matrix = _checked(similarity)
    if assignment.method == "page":
        return _in_page_order(gaps, matrix)
    if assignment.method == "published":
        known = zip(published, matrix.argmax(axis=1).tolist(), strict=True)
        return np.array([nearest if given is None else given for given, nearest in known], dtype=np.int64)
    reach = None if assignment.window is None else _in_reach(gaps, matrix, assignment.window)
    if reach is None or reach.all():  # the same numbers, so that ties are broken as without a window
        nearest, preferred, reach = matrix.argmax(axis=1), matrix, None
    else:
        nearest, preferred = np.where(reach, matrix, -np.inf).argmax(axis=1), _preferring(reach, matrix)
    return nearest if assignment.method == "max" else _one_to_one(preferred, nearest, reach)


def before_each(matched: Sequence[int], assignment: Assignment, gaps: Gaps, sentences: int) -> list[int]:
    """Return how many sentences stand before each image in the document, given the sentence of each.

    An image stands directly before its sentence. If places count and the image was assigned to the very sentence that
    page order gives it, it stays in its gap, which may be the one after the last sentence. Places of a publisher count
    together with his assignment.
    """
    if not assignment.needs_places and assignment.method != "published":
        return list(matched)
    return [
        gap if gap is not None and sentence_after(gap, sentences) == sentence else sentence
        for sentence, gap in zip(matched, gaps, strict=True)
    ]


def sentence_after(gap: int, sentences: int) -> int:
    """Return the sentence that page order gives to an image: the one after its gap, or the last one."""
    return min(gap, sentences - 1)


def _in_page_order(gaps: Gaps, matrix: Matrix) -> npt.NDArray[np.int64]:
    known = [sentence_after(gap, matrix.shape[1]) for gap in gaps if gap is not None]
    if len(known) != len(matrix):
        raise ValueError("page order needs the place of every image in the matrix")
    return np.array(known, dtype=np.int64)


def _in_reach(gaps: Gaps, matrix: Matrix, window: int) -> npt.NDArray[np.bool_]:
    """Return which sentences each image may get; an image without a place may get any."""
    every = np.arange(matrix.shape[1])
    reach = np.ones(matrix.shape, dtype=bool)
    for row, gap in zip(reach, gaps, strict=True):
        if gap is not None:
            row[:] = abs(every - sentence_after(gap, len(every))) <= window
    return reach


def _preferring(reach: npt.NDArray[np.bool_], matrix: Matrix) -> Matrix:
    """Return what to maximise so that pairs in reach are as many as possible, and then their sum as large as possible.

    A pair out of reach counts 0. A pair in reach counts more than all differences between sums together. The numbers
    grow with the spread of the similarities, so that precision does not depend on their scale.
    """
    above_least = matrix.astype(np.float64) - float(matrix.min())
    enough = above_least.max() * (min(matrix.shape) + 1) or 1.0
    return np.where(reach, above_least + enough, 0.0)


def _one_to_one(
    preferred: Matrix, nearest: npt.NDArray[np.int64], reach: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.int64]:
    """Return the sentences of the best matching. An image that gets none, or none in reach, gets its nearest one."""
    from scipy.optimize import (
        linear_sum_assignment,
    )  # here, because it takes 34 MB in each worker, also of other stages

    images, matched = linear_sum_assignment(preferred, maximize=True)
    if reach is not None:
        possible = reach[images, matched]
        images, matched = images[possible], matched[possible]
    sentences = nearest.copy()
    sentences[images] = matched
    return sentences


def _checked(similarity: npt.ArrayLike) -> Matrix:
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
