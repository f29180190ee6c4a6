"""Drops images that CLIP classifies as advertisements, by comparing them with sentences about ads."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from filters.base import ScoreFilter
from schemas.reasons import Reason
from schemas.score import ImageScore


@dataclass(frozen=True)
class AdsZeroShot(ScoreFilter):
    """Not in MMC4: a probability of at most `max_probability` that the image is an ad.

    The probabilities differ from one CLIP model to another.
    """

    max_probability: Annotated[float, Ge(0), Le(1)]

    reason = Reason.AD
    column = "ad"

    def decide(self, score: ImageScore, /) -> str | None:
        """Compare the probability; an image without one is dropped, because it may be an ad."""
        value = score.number(self.column)
        return None if value is not None and value <= self.max_probability else self.reason
