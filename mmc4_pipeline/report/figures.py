"""The report's figures, as places in percent of the plotting area; the template only draws them.

A further histogram on the page: count it in `Statistics`, and add it to `_PLANS`.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmc4_pipeline.report.funnel import FunnelRow
from schemas.statistics import BYTES_BIN, SHARE_BINS, SIDE_BIN, SIMILARITY_BINS, Statistics
from schemas.tables import Site

_MAX_COLUMNS = 50  # more would be too thin to tell apart on a phone
_MIN_COLUMNS = 10  # fewer would make one bar fill the figure
_BODY = 0.95  # columns end at twice the reach of so many values: a page of thousands of sentences would squash the rest
_TICKS = 6
_REASONS = 3  # shown of a site's drops
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
class SiteBar:
    """One site: what was kept, dropped after it was asked for, and never asked for, in percent of the longest bar."""

    name: str
    site: Site
    kept: float
    lost: float
    unasked: float
    reasons: str


def site_bars(sites: Sequence[tuple[str, Site]]) -> list[SiteBar]:
    """Give the bars of a list of sites, in its order."""
    percent = 100 / max((site.links for _, site in sites), default=1)
    return [
        SiteBar(
            name or "(no site)",
            site,
            site.kept * percent,
            (site.wanted - site.kept) * percent,
            (site.links - site.wanted) * percent,
            ", ".join(f"{reason} {count:,}" for reason, count in _most(site.dropped)),
        )
        for name, site in sites
    ]


def _most(dropped: Counter[str]) -> list[tuple[str, int]]:
    return sorted(dropped.items(), key=lambda item: (-item[1], item[0]))[:_REASONS]


@dataclass(frozen=True, slots=True)
class Mark:
    """A labelled place on an axis: a tick or a cutoff."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a histogram, `inner` the part of it that was kept; `label` says which values, and how many."""

    start: float
    width: float
    height: float
    inner: float
    label: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """One histogram; without columns there was nothing to count, and `summary` says why."""

    title: str
    values: str
    things: str
    summary: str
    columns: Sequence[Column] = ()
    ticks: Sequence[Mark] = ()
    levels: Sequence[Mark] = ()
    cutoffs: Sequence[Mark] = ()
    has_inner: bool = False


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
_PERCENT, _KILOBYTES = _Scale(100 / SHARE_BINS), _Scale(BYTES_BIN / 1000)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a histogram shows: the counts of `field` in `Statistics`, and of `kept` as a part of them.

    `values` is the horizontal axis with its unit, `things` what is counted; `empty` is said where there is nothing.
    """

    title: str
    field: str
    scale: _Scale
    values: str
    things: str
    cutoffs: Sequence[tuple[str, ...]] = ()
    kept: str = ""
    empty: str = "none"


_CUT = "document"
_PLANS = (
    _Plan("Images a document", "images", _NUMBER, "images", "documents", [(_CUT, "min_images"), (_CUT, "max_images")]),
    _Plan(
        "Sentences a document",
        "sentences",
        _NUMBER,
        "sentences",
        "documents",
        [(_CUT, "min_sentences"), (_CUT, "max_sentences")],
    ),
    _Plan("Sentences with an image", "share_illustrated", _PERCENT, "% of a document's sentences", "documents"),
    _Plan(
        "Best similarity of scored images",
        "best_similarity",
        _SIMILARITY,
        "cosine similarity to the most similar sentence",
        "images",
        [("similarity", "min")],
    ),
    _Plan(
        "Similarity as assigned",
        "matched_similarity",
        _SIMILARITY,
        "cosine similarity to the image's sentence",
        "kept images",
        [(_CUT, "share_above", "similarity")],
    ),
    _Plan(
        "Size of decoded images",
        "decoded_short_side",
        _PIXELS,
        "short side, pixels as received",
        "images",
        [("resolution", "min_side")],
        kept="short_side",
    ),
    _Plan("Size of kept images as stored", "stored_bytes", _KILOBYTES, "JPEG, kB", "kept images"),
    _Plan(
        "NSFW of scored images",
        "nsfw",
        _SIMILARITY,
        "probability",
        "images",
        [("nsfw", "max_probability")],
        empty="not scored",
    ),
    _Plan(
        "Faces on scored images",
        "face",
        _SIMILARITY,
        "probability",
        "images",
        [("faces", "max_probability")],
        empty="not scored",
    ),
)


def histograms(statistics: Statistics, recipe: dict[str, Any], uncounted: Collection[str] = ()) -> list[Histogram]:
    """Give the page's histograms with the recipe's cutoffs.

    `uncounted` are the fields of Statistics that some shard lacks, because an earlier version made it.
    """
    return [_histogram(plan, statistics, recipe, uncounted) for plan in _PLANS]


def _histogram(plan: _Plan, statistics: Statistics, recipe: dict[str, Any], uncounted: Collection[str]) -> Histogram:
    if plan.field in uncounted:
        return Histogram(plan.title, plan.values, plan.things, "not counted by the version that cut this dataset")
    counts: Counter[int] = getattr(statistics, plan.field)
    if not counts:
        return Histogram(plan.title, plan.values, plan.things, plan.empty)
    cutoffs = dict(cutoff for path in plan.cutoffs for cutoff in _cutoff(recipe, path, plan.scale))
    low, step, columns = _grid(counts, list(cutoffs.values()))
    end, percent = low + columns * step, 100 / (columns * step)
    grouped, kept = (
        _group(of, low, step, columns) for of in (counts, getattr(statistics, plan.kept) if plan.kept else Counter())
    )
    levels = _levels(max(grouped.values()))
    labels = {place: plan.scale.say_range(low + place * step, step) for place in grouped}
    if max(counts) >= end:
        labels[columns - 1] = f"{plan.scale.say(end - step)} or more"
    return Histogram(
        plan.title,
        plan.values,
        plan.things,
        _summary(counts, plan.scale),
        [
            Column(
                100 * place / columns,
                100 / columns,
                100 * count / levels[-1],
                100 * min(kept[place], count) / levels[-1],
                f"{labels[place]}: {count:,}" + (f", {kept[place]:,} kept" if plan.kept else ""),
            )
            for place, count in sorted(grouped.items())
        ],
        _ticks(low, end, step, plan.scale),
        [Mark(100 * level / levels[-1], f"{level:,}") for level in levels],
        [Mark((place - low) * percent, label) for label, place in cutoffs.items() if low <= place <= end],
        has_inner=bool(plan.kept),
    )


def _group(counts: Counter[int], low: int, step: int, columns: int) -> Counter[int]:
    """Add bins up to columns; what lies beyond the last column is counted in it."""
    grouped: Counter[int] = Counter()
    for number, count in counts.items():
        grouped[min(max(number - low, 0) // step, columns - 1)] += count
    return grouped


def _cutoff(recipe: dict[str, Any], path: Sequence[str], scale: _Scale) -> Iterator[tuple[str, float]]:
    """Yield a threshold's label and its place in bins, where it is set; a whole number's maximum lies after its bin."""
    value: Any = recipe["filters"]
    for key in path:
        value = (value or {}).get(key)
    if value is None:
        return
    is_max = path[-1].startswith("max")
    sign = "≤" if is_max else ">" if path[-1] == "similarity" else "≥"
    yield f"{sign} {value:g}", value / scale.width + (1 if is_max and scale.exact else 0)


def _levels(peak: int) -> list[int]:
    """Give round numbers from 0 to the first that is not below the highest column: the ticks of the vertical axis."""
    step = _round_up(peak / 3)
    return list(range(0, peak + step, step))


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
