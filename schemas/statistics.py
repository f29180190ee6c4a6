"""Counts and histograms, which are made for each shard and added up for a dataset."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Self

import msgspec

from schemas.columns import Column
from schemas.comparison import Comparison
from schemas.placement import Placement
from schemas.tables import DuplicateGroups, Sites

SCORE_BINS = 50  # from 0 to the largest number of a column's range
SHARE_BINS = 20  # to 1.0: a bin is 0.05 wide
SIDE_BIN = 50  # pixels: bin k starts at 50 k
BYTES_BIN = 10_000  # bin k starts at 10 kB times k: OpenFlamingo's loader passes over images of up to 10 kB


class Counts(msgspec.Struct, rename={"seen": "in"}):
    """How many things went into a stage, how many were kept, and how many were dropped for each reason.

    `seen` ("in" as JSON) is counted where the input is read, the others where the output is written, so that `check`
    compares two independent numbers.
    """

    seen: int = 0
    kept: int = 0
    dropped: Counter[str] = msgspec.field(default_factory=Counter)

    def decide(self, reasons: Iterable[str | None]) -> None:
        """Count decisions: None means kept, a reason means dropped."""
        for reason in reasons:
            if reason is None:
                self.kept += 1
            else:
                self.dropped[str(reason)] += 1

    def check(self, what: str) -> None:
        """Raise ArithmeticError if the counts don't add up."""
        if self.seen != self.kept + self.dropped.total():
            raise ArithmeticError(
                f"{what} do not add up: {self.seen} in, {self.kept} kept, {dict(self.dropped)} dropped"
            )

    def __iadd__(self, other: Self) -> Self:
        """Add another shard's counts."""
        self.seen += other.seen
        self.kept += other.kept
        self.dropped += other.dropped
        return self

    def in_order(self) -> "Counts":
        """Return a copy with its reasons sorted, as they are stored."""
        return Counts(self.seen, self.kept, Counter(dict(sorted(self.dropped.items()))))

    def to_json(self) -> dict[str, Any]:
        """Return the counts as a JSON object with sorted reasons."""
        return {"in": self.seen, "kept": self.kept, "dropped": dict(sorted(self.dropped.items()))}

    @classmethod
    def from_json(cls, counts: dict[str, Any]) -> Self:
        """Read what `to_json` returned."""
        return cls(counts["in"], counts["kept"], Counter(counts["dropped"]))


@dataclass(slots=True)
class Statistics:
    """Histograms and tables of a shard or a whole dataset. A histogram has the number of things in each bin.

    Empty bins are left out. The share of a document's sentences that have an image is in bins of 0.05, short sides are
    in bins of 50 pixels, stored images in bins of 10 kB; images and sentences of kept documents are as they are.
    `decoded_short_side` counts each link whose image could be decoded, the others count what was kept.
    `place_distance` is how many sentences are between the one that page order gives and the most similar one.

    `scores` has a histogram for each of the ledger's columns of scores that has numbers, by its name, in bins of
    `score_bin`. Values for an assigned sentence (`matched_`) are counted for kept images, others for scored ones.
    """

    images: Counter[int] = field(default_factory=Counter)
    sentences: Counter[int] = field(default_factory=Counter)
    share_illustrated: Counter[int] = field(default_factory=Counter)
    short_side: Counter[int] = field(default_factory=Counter)
    decoded_short_side: Counter[int] = field(default_factory=Counter)
    stored_bytes: Counter[int] = field(default_factory=Counter)
    place_distance: Counter[int] = field(default_factory=Counter)
    scores: dict[str, Counter[int]] = field(default_factory=dict)
    placement: Placement = field(default_factory=Placement)
    sites: Sites = field(default_factory=Sites)
    duplicates: DuplicateGroups = field(default_factory=DuplicateGroups)
    published: Comparison = field(default_factory=Comparison)

    def __iadd__(self, other: Self) -> Self:
        """Add another shard's statistics."""
        for name in _HISTOGRAMS:
            getattr(self, name).update(getattr(other, name))
        for name, counts in other.scores.items():
            self.scores.setdefault(name, Counter()).update(counts)
        self.placement += other.placement
        self.sites += other.sites
        self.duplicates += other.duplicates
        self.published += other.published
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as JSON: each histogram as an object from bin to count, in order, and the tables."""
        counted = {**self.scores, **{name: getattr(self, name) for name in _HISTOGRAMS}}
        histograms = {
            name: {str(number): count for number, count in sorted(counts.items())} for name, counts in counted.items()
        }
        tables = {name: getattr(self, name).to_json() for name in _TABLES}
        return {**histograms, **tables}

    @classmethod
    def from_json(cls, statistics: dict[str, Any]) -> Self:
        """Read what `to_json` returned; what an earlier version did not count stays empty."""
        counted = {
            name: Counter({int(number): count for number, count in counts.items()})
            for name, counts in statistics.items()
            if name not in _TABLES
        }
        histograms = {name: counted.pop(name, Counter()) for name in _HISTOGRAMS}
        return cls(
            **histograms,
            scores=counted,
            placement=Placement.from_json(statistics.get("placement", {})),
            sites=Sites.from_json(statistics.get("sites", {})),
            duplicates=DuplicateGroups.from_json(statistics.get("duplicates", [])),
            published=Comparison.from_json(statistics.get("published", {})),
        )


_TABLES = ("placement", "sites", "duplicates", "published")
_HISTOGRAMS = [item.name for item in fields(Statistics) if item.name not in ("scores", *_TABLES)]
COUNTED = [item.name for item in fields(Statistics) if item.name != "scores"]  # in every note of this version


def score_scale(column: Column) -> float:
    """Return the largest number of a column's range, apart from its sign."""
    return max(map(abs, column.range))


def score_bin(value: float, column: Column) -> int:
    """Return the bin of a score: bin k starts at k / 50 of the scale; values beyond the range are in its last bins.

    NaN is in the first bin, and never stops a run.
    """
    low, high = column.range
    bins = SCORE_BINS / score_scale(column)
    return min(math.floor(min(max(low, value), high) * bins), math.ceil(high * bins) - 1)
