"""Drops images that the NSFW head holds to be unsafe."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from filters.base import ScoreFilter
from schemas.score import ImageScore


@dataclass(frozen=True)
class Nsfw(ScoreFilter):
    """MMC4, section 3: a classifier's probability of at most `max_probability` (0.1, about 10% of the images go)."""

    max_probability: Annotated[float, Ge(0), Le(1)]

    needs = "nsfw"

    def decide(self, score: ImageScore) -> str | None:
        """Judge the probability; an image without one is not safe."""
        return None if score.nsfw is not None and score.nsfw <= self.max_probability else self.reason
