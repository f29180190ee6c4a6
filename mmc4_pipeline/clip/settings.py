"""Settings of the scorer, apart from the models, so that the command line does not need PyTorch."""

from dataclasses import dataclass
from typing import Literal

from mmc4_pipeline.models.clip_choice import ClipChoice

Precision = Literal["auto", "fp32", "fp16", "bf16"]


@dataclass(frozen=True, slots=True)
class ScorerSettings:
    """A CLIP model and its heads. Without weights for a head its scores are null.

    `processes` is the number of worker processes that share a machine's cores. `compiled` is described in ClipModel.
    """

    clip: ClipChoice
    nsfw_weights: str | None = None
    face_weights: str | None = None
    device: str = "auto"
    precision: Precision = "auto"
    compiled: bool = False
    processes: int = 1

    @property
    def heads(self) -> dict[str, str]:
        """The weights file of each head that has one, by the name of its score."""
        files = {"nsfw": self.nsfw_weights, "face": self.face_weights}
        return {name: path for name, path in files.items() if path}
