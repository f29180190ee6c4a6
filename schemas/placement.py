"""Sums that compare page order with the assignment by similarity, which are made for each shard and added up."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

UNIT = 1_000_000  # of sums of similarities: float32 has no more digits


@dataclass(slots=True)
class Placement:
    """Sums over the kept images whose place on their page is known: their number, and similarities in millionths.

    `page` adds up the similarities to the sentence that page order gives, `best` those to the most similar sentence,
    and `matched` those to the assigned one. Whole numbers add up exactly in any order.
    """

    images: int = 0
    page: int = 0
    best: int = 0
    matched: int = 0

    def count(self, page: float, best: float, matched: float) -> None:
        """Count an image by its similarities. NaN counts as -1 and never stops a run."""
        self += Placement(1, *(round(min(1.0, max(-1.0, value)) * UNIT) for value in (page, best, matched)))

    def __iadd__(self, other: Self) -> Self:
        """Add another shard's sums."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))
        return self

    def to_json(self) -> dict[str, int]:
        """Return the sums as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, sums: dict[str, Any]) -> Self:
        """Read what `to_json` returned; an empty object has counted nothing."""
        return cls(**sums)
