"""The report's figures, as places in percent of the plotting area; the template only draws them.

A further histogram on the page: count it in `Statistics`, and add it to `histograms`.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmc4_pipeline.report.funnel import FunnelRow
from schemas.statistics import SIDE_BIN, SIMILARITY_BINS, Statistics

_MAX_COLUMNS = 50  # more would be too thin to tell apart on a phone
_MIN_COLUMNS = 10  # fewer would make one bar fill the figure
_BODY = 0.95  # columns end at twice the reach of so many values: a page of thousands of sentences would squash the rest
_TICKS = 6
_HEAT_LEVELS = 8
_HEAT_COLUMNS = 64
_HEAT_ROWS = 24


@dataclass(frozen=True, slots=True)
class FunnelBar:
    """One bar of the funnel: what is left, or what was dropped for a reason, in percent of what came in."""

    label: str
    count: int
    start: float
    width: float
    is_drop: bool


def funnel_bars(rows: Sequence[FunnelRow], what: str) -> list[FunnelBar]:
    """Give the bars of one kind of thing, top to bottom: each reason's bar ends where the one before it starts."""
    rows = [row for row in rows if row.what == what]
    if not rows:
        return []
    percent = 100 / max(rows[0].seen, 1)
    bars = [FunnelBar("all", rows[0].seen, 0, rows[0].seen * percent, is_drop=False)]
    for row in rows:
        left = row.seen
        for reason, count in row.dropped:
            left -= count
            bars.append(FunnelBar(reason, count, left * percent, count * percent, is_drop=True))
        if row is rows[-1]:
            bars.append(FunnelBar("kept", row.kept, 0, row.kept * percent, is_drop=False))
        elif row.dropped:
            bars.append(FunnelBar(f"after {row.stage}", row.kept, 0, row.kept * percent, is_drop=False))
    return bars


@dataclass(frozen=True, slots=True)
class Mark:
    """A labelled place on the horizontal axis: a tick or a cutoff."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a histogram; `label` says which values, and how many."""

    start: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """One histogram; without columns there was nothing to count."""

    title: str
    summary: str = ""
    peak: int = 0
    columns: Sequence[Column] = ()
    ticks: Sequence[Mark] = ()
    cutoffs: Sequence[Mark] = ()


@dataclass(frozen=True, slots=True)
class _Scale:
    """What bins mean: bin k starts at k * `width`. `exact` bins hold one whole number each."""

    width: float
    digits: int = 0
    exact: bool = False

    def say(self, place: float) -> str:
        return f"{place * self.width:,.{self.digits}f}"

    def say_range(self, first: int, bins: int) -> str:
        if not self.exact:
            return f"{self.say(first)} to {self.say(first + bins)}"
        return self.say(first) if bins == 1 else f"{self.say(first)} to {self.say(first + bins - 1)}"


_SIMILARITY, _PIXELS, _NUMBER = _Scale(1 / SIMILARITY_BINS, digits=2), _Scale(SIDE_BIN), _Scale(1, exact=True)


def histograms(statistics: Statistics, recipe: dict[str, Any]) -> list[Histogram]:
    """Give the page's histograms with the recipe's cutoffs."""
    similarity, resolution, rules = (
        recipe["filters"].get(key) or {} for key in ("similarity", "resolution", "document")
    )
    best = _cutoff(similarity, "min", _SIMILARITY)
    matched = _cutoff(rules.get("share_above") or {}, "similarity", _SIMILARITY)
    images = _cutoff(rules, "min_images", _NUMBER) | _cutoff(rules, "max_images", _NUMBER)
    sentences = _cutoff(rules, "min_sentences", _NUMBER) | _cutoff(rules, "max_sentences", _NUMBER)
    side = _cutoff(resolution, "min_side", _PIXELS)
    return [
        _histogram("Best similarity of every scored image", statistics.best_similarity, _SIMILARITY, best),
        _histogram("Similarity of kept images to their sentence", statistics.matched_similarity, _SIMILARITY, matched),
        _histogram("Images per document", statistics.images, _NUMBER, images),
        _histogram("Sentences per document", statistics.sentences, _NUMBER, sentences),
        _histogram("Short side of kept images, px", statistics.short_side, _PIXELS, side),
    ]


def _cutoff(rules: dict[str, Any], key: str, scale: _Scale) -> dict[str, float]:
    """Give a threshold's label and its place in bins, where it is set; a maximum lies after its own bin."""
    value = rules.get(key)
    if value is None:
        return {}
    is_max = key.startswith("max")
    sign = "≤" if is_max else ">" if key == "similarity" else "≥"
    return {f"{sign} {value:g}": value / scale.width + (1 if is_max else 0)}


def _histogram(title: str, counts: Counter[int], scale: _Scale, cutoffs: dict[str, float]) -> Histogram:
    if not counts:
        return Histogram(title)
    low, step, columns = _grid(counts, list(cutoffs.values()))
    grouped: Counter[int] = Counter()
    for number, count in counts.items():
        grouped[min((number - low) // step, columns - 1)] += count
    highest, end = max(grouped.values()), low + columns * step
    labels = {place: scale.say_range(low + place * step, step) for place in grouped}
    if max(counts) >= end:
        labels[columns - 1] = f"{scale.say(end - step)} or more"
    drawn = [
        Column(100 * place / columns, 100 / columns, 100 * count / highest, f"{labels[place]}: {count:,}")
        for place, count in sorted(grouped.items())
    ]
    percent = 100 / (end - low)
    marks = [Mark((place - low) * percent, label) for label, place in cutoffs.items() if low <= place <= end]
    return Histogram(title, _summary(counts, scale), highest, drawn, _ticks(low, end, step, scale), marks)


def _grid(counts: Counter[int], cutoffs: Sequence[float]) -> tuple[int, int, int]:
    """Give first bin, bins a column and columns, so that all but a long tail fits and so do cutoffs not far from it."""
    low = min(counts)
    end = min(max(counts), low + 2 * (_quantile(counts, _BODY) - low)) + 1
    reach = max(end - low, _MIN_COLUMNS)
    near = [place for place in cutoffs if low - reach <= place <= end + reach]
    low, end = min([low, *map(math.floor, near)]), max([end, *map(math.ceil, near)])
    end = max(end, low + _MIN_COLUMNS)
    step = _round_up((end - low) / _MAX_COLUMNS)
    low -= low % step
    return low, step, math.ceil((end - low) / step)


def _quantile(counts: Counter[int], share: float) -> int:
    """Give the bin in which the given share of the values, from the lowest on, is reached."""
    wanted, seen = share * counts.total(), 0
    for number, count in sorted(counts.items()):
        seen += count
        if seen >= wanted:
            return number
    return max(counts)


def _round_up(value: float) -> int:
    """Give the smallest of 1, 2, 5, 10, 20, 50 and so on that is not below the value."""
    power = 1
    while 5 * power < value:
        power *= 10
    return next(factor * power for factor in (1, 2, 5) if factor * power >= value)


def _ticks(low: int, end: int, step: int, scale: _Scale) -> list[Mark]:
    """Label round values; a column of one whole number has its label in the middle."""
    every = max(step, _round_up((end - low) / _TICKS))
    middle = 0.5 if scale.exact and step == 1 else 0
    first = -(-low // every) * every
    places = [place for place in range(first, end + 1, every) if place + middle <= end]
    return [Mark(100 * (place + middle - low) / (end - low), scale.say(place)) for place in places]


def _summary(counts: Counter[int], scale: _Scale) -> str:
    middle = _quantile(counts, 0.5)
    return f"{counts.total():,} counted, median {scale.say_range(middle, 1)}"


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A similarity matrix as cells of one unit each.

    `levels` has an SVG path for each of the equally wide steps from low to high; `matched` outlines the cells
    (column, row, label) of the assignment. `pooled` sentences share a column, which shows the highest of them.
    """

    columns: int
    rows: int
    levels: list[str]
    matched: list[tuple[int, int, str]]
    pooled: int


def heat_map(
    matrix: Sequence[Sequence[float]], matched: Sequence[int], similarities: Sequence[float], scale: tuple[float, float]
) -> HeatMap:
    """Give the heat map of images x sentences; `scale` is the lowest and the highest similarity to tell apart."""
    matrix = matrix[:_HEAT_ROWS]
    pooled = max(1, math.ceil(max(map(len, matrix), default=0) / _HEAT_COLUMNS))
    rows = [[max(row[at : at + pooled]) for at in range(0, len(row), pooled)] for row in matrix]
    levels = [""] * _HEAT_LEVELS
    low, high = scale
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            share = (value - low) / (high - low) if high > low else 1.0
            levels[min(max(int(share * _HEAT_LEVELS), 0), _HEAT_LEVELS - 1)] += f"M{x} {y}h1v1h-1z"
    outlined = [
        (sentence // pooled, y, f"image {y + 1}, sentence {sentence + 1}: {similarity:.2f}")
        for y, (sentence, similarity) in enumerate(zip(matched[: len(rows)], similarities, strict=False))
    ]
    return HeatMap(max(map(len, rows), default=0), len(rows), levels, outlined, pooled)
