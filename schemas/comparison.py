"""How images of a published dataset compare with what its publisher recorded. Made for each shard, and added up."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

CHANGE_BINS = 100  # to 1.0: bin k has the changes that round to k / 100


@dataclass(slots=True)
class Comparison:
    """`changes` counts the scored images by how far the similarity to their published sentence has changed, in bins.

    `same` and `other` count the kept images that are at the publisher's sentence and those that are at another one.
    """

    changes: Counter[int] = field(default_factory=Counter)
    same: int = 0
    other: int = 0

    def __iadd__(self, other: Self) -> Self:
        """Add another shard's comparison."""
        self.changes.update(other.changes)
        self.same += other.same
        self.other += other.other
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as a JSON object, with the bins in order."""
        changes = {str(number): count for number, count in sorted(self.changes.items())}
        return {"changes": changes, "same": self.same, "other": self.other}

    @classmethod
    def from_json(cls, comparison: dict[str, Any]) -> Self:
        """Read what `to_json` returned; what an earlier version did not count stays empty."""
        changes = Counter({int(number): count for number, count in comparison.get("changes", {}).items()})
        return cls(changes, comparison.get("same", 0), comparison.get("other", 0))
