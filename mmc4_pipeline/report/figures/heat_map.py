"""The heat map of a document: how similar its images are to its sentences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_LEVELS = 8
_COLUMNS = 64
_ROWS = 24


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A similarity matrix as cells of one unit each.

    `levels` has one SVG path for each of the equal steps from low to high; `matched` has the cells (column, row, label)
    of the assignment. `pooled` is the number of sentences per column, which shows the highest of their similarities.
    """

    columns: int
    rows: int
    levels: list[str]
    matched: list[tuple[int, int, str]]
    pooled: int


def heat_map(
    matrix: Sequence[Sequence[float]], matched: Sequence[int], similarities: Sequence[float], scale: tuple[float, float]
) -> HeatMap:
    """Return the heat map of images x sentences; `scale` is the lowest and the highest similarity that is shown."""
    matrix = matrix[:_ROWS]
    pooled = max(1, math.ceil(max(map(len, matrix), default=0) / _COLUMNS))
    rows = [[max(row[at : at + pooled]) for at in range(0, len(row), pooled)] for row in matrix]
    levels = [""] * _LEVELS
    low, high = scale
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            share = (value - low) / (high - low) if high > low else 1.0
            levels[min(max(int(share * _LEVELS), 0), _LEVELS - 1)] += f"M{x} {y}h1v1h-1z"
    outlined = [
        (sentence // pooled, y, f"image {y + 1}, sentence {sentence + 1}: {similarity:.2f}")
        for y, (sentence, similarity) in enumerate(zip(matched[: len(rows)], similarities, strict=False))
    ]
    return HeatMap(max(map(len, rows), default=0), len(rows), levels, outlined, pooled)
