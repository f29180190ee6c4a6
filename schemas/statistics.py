"""What is counted a shard and added up over a dataset: what became of its parts, and histograms of what was kept."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Self

from schemas.reasons import Reason

SIMILARITY_BINS = 50  # to 1.0: a bin is 0.02 wide, bin k starts at k / 50, from bin -50 to bin 49
SIDE_BIN = 50  # pixels: bin k starts at 50 k


@dataclass(slots=True)
class Counts:
    """How many things went into a stage, were kept, and were dropped for which reason.

    `seen` is counted where the input is read, the others where the output is written, so that `check` means something.
    """

    seen: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def decide(self, reasons: Iterable[Reason | None]) -> None:
        """Count decisions: kept where there is no reason to drop."""
        for reason in reasons:
            if reason is None:
                self.kept += 1
            else:
                self.dropped[reason.value] += 1

    def check(self, what: str) -> None:
        """Raise ArithmeticError if the counts don't add up."""
        if self.seen != self.kept + self.dropped.total():
            message = f"{what} do not add up: {self.seen} in, {self.kept} kept, {dict(self.dropped)} dropped"
            raise ArithmeticError(message)

    def __iadd__(self, other: Self) -> Self:
        """Add another shard's counts."""
        self.seen += other.seen
        self.kept += other.kept
        self.dropped += other.dropped
        return self

    def to_json(self) -> dict[str, Any]:
        """Give the counts as a JSON object with sorted reasons."""
        return {"in": self.seen, "kept": self.kept, "dropped": dict(sorted(self.dropped.items()))}

    @classmethod
    def from_json(cls, counts: dict[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return cls(counts["in"], counts["kept"], Counter(counts["dropped"]))


@dataclass(slots=True)
class Statistics:
    """Histograms of a shard, or of a whole dataset: how many things fell into each bin. Empty bins are left out.

    Similarities are in bins of 0.02 (bin k: from k / 50), the short side in bins of 50 pixels (bin k: from 50 k),
    images and sentences of kept documents as they are.
    """

    matched_similarity: Counter[int] = field(default_factory=Counter)
    best_similarity: Counter[int] = field(default_factory=Counter)
    images: Counter[int] = field(default_factory=Counter)
    sentences: Counter[int] = field(default_factory=Counter)
    short_side: Counter[int] = field(default_factory=Counter)

    def __iadd__(self, other: Self) -> Self:
        """Add another shard's histograms."""
        for item in fields(self):
            getattr(self, item.name).update(getattr(other, item.name))
        return self

    def to_json(self) -> dict[str, Any]:
        """Give each histogram as a JSON object from bin to count, bins in order."""
        return {
            item.name: {str(number): count for number, count in sorted(getattr(self, item.name).items())}
            for item in fields(self)
        }

    @classmethod
    def from_json(cls, statistics: dict[str, Any]) -> Self:
        """Read what `to_json` gave; a histogram that an earlier version did not have stays empty."""
        return cls(
            **{
                item.name: Counter({int(number): count for number, count in statistics.get(item.name, {}).items()})
                for item in fields(cls)
            }
        )
