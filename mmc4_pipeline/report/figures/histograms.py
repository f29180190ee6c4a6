"""The histograms: of images, sentences, similarities, sizes and probabilities, with the recipe's thresholds.

To add a histogram to the page, count it in `Statistics` and add it to `_OF_DOCUMENTS` or `_OF_IMAGES`. Those of scores
follow from the columns that scorers declare.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from filters.base import ScoreFilter
from mmc4_pipeline.plug_ins import known_filters
from schemas import columns as score_columns
from schemas.columns import SIMILARITY, LedgerColumn, Shape, ledger_columns
from schemas.statistics import BYTES_BIN, SCORE_BINS, SHARE_BINS, SIDE_BIN, Statistics, score_scale

_MAX_COLUMNS = 50  # more would be too thin to tell apart on a phone
_MIN_COLUMNS = 10  # with fewer, one bar would fill the figure
_BODY = 0.95  # columns end at twice the range of this share of the values: a few huge values would squash the rest
_TICKS = 6


@dataclass(frozen=True, slots=True)
class Mark:
    """A labelled place on an axis: a tick or a threshold."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a histogram. `inner` is the part that was kept; `label` has the range of values and the count."""

    start: float
    width: float
    height: float
    inner: float
    label: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """One histogram. Without columns nothing was counted, and `summary` says why."""

    title: str
    values: str
    things: str
    summary: str
    columns: Sequence[Column] = ()
    ticks: Sequence[Mark] = ()
    levels: Sequence[Mark] = ()
    thresholds: Sequence[Mark] = ()
    has_inner: bool = False


@dataclass(frozen=True, slots=True)
class _Scale:
    """The values of bins: bin k starts at k * `width`. An `exact` bin holds one whole number."""

    width: float
    digits: int = 0
    exact: bool = False

    def text(self, place: float) -> str:
        """Return the value at a place."""
        return f"{place * self.width:,.{self.digits}f}"

    def range_text(self, first: int, bins: int) -> str:
        """Return the values of some bins."""
        if not self.exact:
            return f"{self.text(first)} to {self.text(first + bins)}"
        return self.text(first) if bins == 1 else f"{self.text(first)} to {self.text(first + bins - 1)}"


_PIXELS, _NUMBER = _Scale(SIDE_BIN), _Scale(1, exact=True)
_PERCENT, _KILOBYTES = _Scale(100 / SHARE_BINS), _Scale(BYTES_BIN / 1000)


@dataclass(frozen=True, slots=True)
class _Definition:
    """What a histogram shows: the counts of `field` in `Statistics` or its `scores`, those of `kept` as a part of them.

    `values` labels the horizontal axis with its unit, `things` the vertical one. `empty` is the summary if nothing was
    counted.
    """

    title: str
    field: str
    scale: _Scale
    values: str
    things: str
    thresholds: Sequence[tuple[str, ...]] = ()
    kept: str = ""
    empty: str = "none"


_RULES = "document"
_OF_DOCUMENTS = (
    _Definition(
        "Images per document",
        "images",
        _NUMBER,
        "images",
        "documents",
        [(_RULES, "min_images"), (_RULES, "max_images")],
    ),
    _Definition(
        "Sentences per document",
        "sentences",
        _NUMBER,
        "sentences",
        "documents",
        [(_RULES, "min_sentences"), (_RULES, "max_sentences")],
    ),
    _Definition("Sentences with an image", "share_illustrated", _PERCENT, "% of a document's sentences", "documents"),
)
_OF_IMAGES = (
    _Definition(
        "Size of decoded images",
        "decoded_short_side",
        _PIXELS,
        "short side, pixels as received",
        "images",
        [("resolution", "min_side")],
        kept="short_side",
    ),
    _Definition("Size of kept images as stored", "stored_bytes", _KILOBYTES, "JPEG, kB", "kept images"),
)


_DISTANCE = _Definition(
    "Distance between page order and CLIP",
    "place_distance",
    _NUMBER,
    "distance in sentences",
    "kept images",
)


def distance_histogram(statistics: Statistics) -> Histogram:
    """Return the histogram of how far images are from their most similar sentence, for images whose place is known."""
    return _histogram(_DISTANCE, statistics, {}, ())


def histograms(
    statistics: Statistics,
    recipe: dict[str, Any],
    columns: Sequence[score_columns.Column],
    uncounted: Collection[str] = (),
) -> list[Histogram]:
    """Return the page's histograms with the recipe's thresholds; `columns` are those of the scores.

    `uncounted` are the fields of Statistics that some shards lack because an earlier version wrote them.
    """
    found = ledger_columns(columns)
    matrices = [_of_scores(item, recipe) for item in found if item.column.shape is Shape.PAIR]
    others = [_of_scores(item, recipe) for item in found if item.column.shape in (Shape.IMAGE, Shape.DOCUMENT)]
    every = (*_OF_DOCUMENTS, *matrices, *_OF_IMAGES, *others)
    return [_histogram(item, statistics, recipe, uncounted) for item in every]


def _of_scores(item: LedgerColumn, recipe: dict[str, Any]) -> _Definition:
    name, scale = item.column.name, score_scale(item.column) / SCORE_BINS
    digits = max(0, math.ceil(-math.log10(scale)))
    if item.is_matched:
        thresholds: list[tuple[str, ...]] = [(_RULES, "share_above", name)] if name == SIMILARITY else []
        title, things = f"{name.capitalize()} to the assigned sentence", "kept images"
    else:
        thresholds = _thresholds_of(recipe, item.column)
        of_document = item.column.shape is Shape.DOCUMENT
        best_of = f"Best {name}" if item.column.shape is Shape.PAIR else name.capitalize()
        title, things = (
            f"{best_of} of scored {'documents' if of_document else 'images'}",
            "documents" if of_document else "images",
        )
    empty = "none" if item.column.shape is Shape.PAIR else "not scored"
    return _Definition(title, item.name, _Scale(scale, digits), item.description, things, thresholds, empty=empty)


def _thresholds_of(recipe: dict[str, Any], column: score_columns.Column) -> list[tuple[str, ...]]:
    """Return the paths of the thresholds of filters that decide by a column."""
    known = known_filters()
    found: list[tuple[str, ...]] = []
    for key, settings in recipe["filters"].items():
        kind = known.get(settings.get("filter", key)) if settings else None
        if kind and issubclass(kind, ScoreFilter) and column.is_named(settings.get("column") or kind.column):
            found += [(key, name) for name in settings if name.startswith(("min", "max"))]
    return found


def _histogram(
    item: _Definition, statistics: Statistics, recipe: dict[str, Any], uncounted: Collection[str]
) -> Histogram:
    if item.field in uncounted:
        return Histogram(item.title, item.values, item.things, "not counted: an earlier version made this dataset")
    counts: Counter[int] = _counts(statistics, item.field)
    if not counts:
        return Histogram(item.title, item.values, item.things, item.empty)
    thresholds = dict(threshold for path in item.thresholds for threshold in _threshold(recipe, path, item.scale))
    low, step, columns = _grid(counts, list(thresholds.values()))
    end, percent = low + columns * step, 100 / (columns * step)
    grouped, kept = (
        _group(of, low, step, columns) for of in (counts, getattr(statistics, item.kept) if item.kept else Counter())
    )
    levels = _levels(max(grouped.values()))
    labels = {place: item.scale.range_text(low + place * step, step) for place in grouped}
    if max(counts) >= end:
        labels[columns - 1] = f"{item.scale.text(end - step)} or more"
    return Histogram(
        item.title,
        item.values,
        item.things,
        _summary(counts, item.scale),
        [
            Column(
                100 * place / columns,
                100 / columns,
                100 * count / levels[-1],
                100 * min(kept[place], count) / levels[-1],
                f"{labels[place]}: {count:,}" + (f", {kept[place]:,} kept" if item.kept else ""),
            )
            for place, count in sorted(grouped.items())
        ],
        _ticks(low, end, step, item.scale),
        [Mark(100 * level / levels[-1], f"{level:,}") for level in levels],
        [Mark((place - low) * percent, label) for label, place in thresholds.items() if low <= place <= end],
        has_inner=bool(item.kept),
    )


def _counts(statistics: Statistics, field: str) -> Counter[int]:
    if field in statistics.scores:
        return statistics.scores[field]
    return cast("Counter[int]", getattr(statistics, field, Counter()))


def _group(counts: Counter[int], low: int, step: int, columns: int) -> Counter[int]:
    """Add up bins to columns; bins beyond the last column are counted in it."""
    grouped: Counter[int] = Counter()
    for number, count in counts.items():
        grouped[min(max(number - low, 0) // step, columns - 1)] += count
    return grouped


def _threshold(recipe: dict[str, Any], path: Sequence[str], scale: _Scale) -> Iterator[tuple[str, float]]:
    """Yield a threshold's label and its place in bins, if it is set; an exact maximum is placed after its bin."""
    value: Any = recipe["filters"]
    for key in path:
        value = (value or {}).get(key)
    if value is None:
        return
    is_max = path[-1].startswith("max")
    sign = "≤" if is_max else ">" if path[-1] == "similarity" else "≥"
    yield f"{sign} {value:g}", value / scale.width + (1 if is_max and scale.exact else 0)


def _levels(peak: int) -> list[int]:
    """Return the ticks of the vertical axis: round numbers from 0 to the first that is at least the highest column."""
    step = _round_up(peak / 3)
    return list(range(0, peak + step, step))


def _grid(counts: Counter[int], thresholds: Sequence[float]) -> tuple[int, int, int]:
    """Return first bin, bins per column and columns, so that all but a long tail fits, and thresholds close to it."""
    low = min(counts)
    end = min(max(counts), low + 2 * (_quantile(counts, _BODY) - low)) + 1
    reach = max(end - low, _MIN_COLUMNS)
    near = [place for place in thresholds if low - reach <= place <= end + reach]
    low, end = min([low, *map(math.floor, near)]), max([end, *map(math.ceil, near)])
    end = max(end, low + _MIN_COLUMNS)
    step = _round_up((end - low) / _MAX_COLUMNS)
    low -= low % step
    return low, step, math.ceil((end - low) / step)


def _quantile(counts: Counter[int], share: float) -> int:
    """Return the bin in which that share of the values, counted from the lowest, is reached."""
    wanted, seen = share * counts.total(), 0
    for number, count in sorted(counts.items()):
        seen += count
        if seen >= wanted:
            return number
    return max(counts)


def _round_up(value: float) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, 50 and so on that is at least the value."""
    power = 1
    while 5 * power < value:
        power *= 10
    return next(factor * power for factor in (1, 2, 5) if factor * power >= value)


def _ticks(low: int, end: int, step: int, scale: _Scale) -> list[Mark]:
    """Return labels of round values; a column of one whole number has its label in the middle."""
    every = max(step, _round_up((end - low) / _TICKS))
    middle = 0.5 if scale.exact and step == 1 else 0
    first = -(-low // every) * every
    places = [place for place in range(first, end + 1, every) if place + middle <= end]
    return [Mark(100 * (place + middle - low) / (end - low), scale.text(place)) for place in places]


def _summary(counts: Counter[int], scale: _Scale) -> str:
    middle = _quantile(counts, 0.5)
    return f"{counts.total():,} counted, median {scale.range_text(middle, 1)}"
