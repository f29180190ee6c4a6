"""Drops images whose score in any column is too high."""

from dataclasses import dataclass

from filters.base import ScoreFilter
from schemas.score import ImageScore


@dataclass(frozen=True)
class AtMost(ScoreFilter):
    """Not in MMC4: a score of at most `max` in a column of the recipe's scores.

    Of a matrix (image and sentence), the image's highest value decides. The reason is the column's name.
    """

    column: str
    max: float

    def decide(self, score: ImageScore, /) -> str | None:
        """Compare the score; an image without one is dropped."""
        value = score.number(self.column)
        return None if value is not None and value <= self.max else self.column
