"""Drops images that the face head holds to show a face."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from filters.base import ScoreFilter
from schemas.reasons import Reason
from schemas.score import ImageScore


@dataclass(frozen=True)
class Faces(ScoreFilter):
    """MMC4, section 3 (fewer faces): logistic regression on CLIP features, cut at 95% recall of a face detector.

    A head is saved so that its probability is 0.5 at that cutoff; `max_probability: 0.5` is the paper's choice.
    """

    max_probability: Annotated[float, Ge(0), Le(1)]

    reason = Reason.FACE
    needs = "face"

    def decide(self, score: ImageScore) -> str | None:
        """Judge the probability; an image without one may show a face."""
        return None if score.face is not None and score.face <= self.max_probability else self.reason
