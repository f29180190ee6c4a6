"""Compares where a dataset's images are on their pages with where CLIP places them."""

from dataclasses import dataclass
from typing import Any

from mmc4_pipeline.report.figures.histograms import Histogram, distance_histogram
from schemas.placement import UNIT
from schemas.statistics import Statistics


@dataclass(frozen=True, slots=True)
class Placements:
    """The placement that the page shows, for the `images` whose place is known.

    `means` has a label and the mean similarity for each way to choose a sentence.
    """

    images: int
    means: list[tuple[str, float]]
    distances: Histogram


def placements(statistics: Statistics, recipe: dict[str, Any]) -> Placements | None:
    """Return what to show, None if the dataset has no image whose place is known."""
    sums = statistics.placement
    if not sums.images:
        return None
    totals = (
        ("the one that follows on the page", sums.page),
        (f"the assigned one ({_named(recipe['assignment'])})", sums.matched),
        ("the most similar one", sums.best),
    )
    means = [(label, total / UNIT / sums.images) for label, total in totals]
    return Placements(sums.images, means, distance_histogram(statistics))


def _named(assignment: str | dict[str, Any]) -> str:
    if isinstance(assignment, str):
        return assignment
    return ", ".join(str(value) if key == "method" else f"{key} {value}" for key, value in assignment.items())
