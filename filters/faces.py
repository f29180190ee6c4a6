"""Drops images that the face head classifies as showing a face."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from filters.base import ScoreFilter
from schemas.reasons import Reason
from schemas.score import ImageScore


@dataclass(frozen=True)
class Faces(ScoreFilter):
    """MMC4 (arXiv:2304.06939), section 3 (fewer faces): logistic regression on CLIP features.

    The paper's threshold has 95% recall against a face detector. `mmc4 train_faces` saves a head such that its
    probability is 0.5 at that threshold, so `max_probability: 0.5` is the paper's choice.
    """

    max_probability: Annotated[float, Ge(0), Le(1)]

    reason = Reason.FACE
    column = "face"

    def decide(self, score: ImageScore, /) -> str | None:
        """Compare the probability; an image without one is dropped, because it may show a face."""
        value = score.number(self.column)
        return None if value is not None and value <= self.max_probability else self.reason
