"""What to score with. Kept apart from the models themselves, so that the command line does not need PyTorch."""

from dataclasses import dataclass
from typing import Literal

from mmc4_pipeline.models.clip_choice import ClipChoice

Precision = Literal["auto", "fp32", "fp16", "bf16"]


@dataclass(frozen=True, slots=True)
class ScorerSettings:
    """A CLIP model and its heads; a head without weights is left out and its scores stay null.

    `processes` is how many worker processes share a machine's cores. `compiled`: see ClipModel.
    """

    clip: ClipChoice
    nsfw_weights: str | None = None
    face_weights: str | None = None
    device: str = "auto"
    precision: Precision = "auto"
    compiled: bool = False
    processes: int = 1
