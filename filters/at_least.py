"""Drops images whose score in any column is too low."""

from dataclasses import dataclass

from filters.base import ScoreFilter
from schemas.score import ImageScore


@dataclass(frozen=True)
class AtLeast(ScoreFilter):
    """Not in MMC4: a score of at least `min` in a column of the recipe's scores.

    Of a matrix (image and sentence), the image's highest value decides. The reason is the column's name.
    """

    column: str
    min: float

    def decide(self, score: ImageScore, /) -> str | None:
        """Compare the score; an image without one is dropped."""
        value = score.number(self.column)
        return None if value is not None and value >= self.min else self.column
