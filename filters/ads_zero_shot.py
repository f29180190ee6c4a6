"""Drops images that CLIP itself, asked by sentences, takes for advertisements."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from filters.base import ScoreFilter
from schemas.reasons import Reason
from schemas.score import ImageScore


@dataclass(frozen=True)
class AdsZeroShot(ScoreFilter):
    """A probability of at most `max_probability` that the image is an ad. Not in the paper; it differs by model."""

    max_probability: Annotated[float, Ge(0), Le(1)]

    reason = Reason.AD

    def decide(self, score: ImageScore) -> str | None:
        """Judge the probability; an image without one may be an ad."""
        return None if score.ad is not None and score.ad <= self.max_probability else self.reason
