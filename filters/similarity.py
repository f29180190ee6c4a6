"""Drops images that match none of the document's sentences."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from filters.base import ScoreFilter
from schemas.columns import SIMILARITY
from schemas.reasons import Reason
from schemas.score import ImageScore


@dataclass(frozen=True)
class Similarity(ScoreFilter):
    """MMC4 (arXiv:2304.06939), section 3: a CLIP similarity of at least `min` (0.15) to at least one sentence."""

    min: Annotated[float, Ge(-1), Le(1)]

    reason = Reason.LOW_SIMILARITY
    column = SIMILARITY

    def decide(self, score: ImageScore, /) -> str | None:
        """Compare the best similarity; without a sentence there is none, and the image is dropped."""
        best = score.number(self.column)
        return None if best is not None and best >= self.min else self.reason
