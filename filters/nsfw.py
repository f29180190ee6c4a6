"""Drops images that the NSFW head classifies as unsafe."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from filters.base import ScoreFilter
from schemas.score import ImageScore


@dataclass(frozen=True)
class Nsfw(ScoreFilter):
    """MMC4 (arXiv:2304.06939), section 3: an NSFW classifier's probability of at most `max_probability`.

    The paper's threshold is 0.1, which drops about 10% of the images.
    """

    max_probability: Annotated[float, Ge(0), Le(1)]

    column = "nsfw"

    def decide(self, score: ImageScore, /) -> str | None:
        """Compare the probability; an image without one is dropped, because it may be unsafe."""
        value = score.number(self.column)
        return None if value is not None and value <= self.max_probability else self.reason
