"""CLIP: the similarity of each image to each sentence, and what classifiers on its features say about the image."""

from dataclasses import dataclass
from typing import Any

from mmc4_pipeline.clip.extra import require_score_extra
from mmc4_pipeline.clip.settings import Precision, ScorerSettings
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.clip_choice import ClipChoice, file_sha256
from mmc4_pipeline.scoring.base import LoadedScorer, Machine, Scorer
from schemas.columns import CLIP_COLUMNS


@dataclass(frozen=True)
class Clip(Scorer):
    """Any CLIP of open_clip. `model` and `pretrained` are as in ClipChoice; without weights a head's column is null."""

    model: str = "ViT-L-14"
    pretrained: str = "openai"
    nsfw_weights: str | None = None
    face_weights: str | None = None
    precision: Precision = "auto"
    torch_compile: bool = False
    save_features: bool = False

    columns = CLIP_COLUMNS

    @property
    def choice(self) -> ClipChoice:
        """The CLIP."""
        return ClipChoice(self.model, self.pretrained)

    @property
    def folder(self) -> str:
        """Return the model with its weights: "ViT-L-14_openai"."""
        return self.choice.name

    def settings(self, machine: Machine) -> ScorerSettings:
        """Return the settings of the model and its heads."""
        return ScorerSettings(
            self.choice,
            self.nsfw_weights,
            self.face_weights,
            machine.device,
            precision=self.precision,
            compiled=self.torch_compile,
            processes=machine.processes,
        )

    def check_packages(self) -> None:
        """Raise UserError unless the extra `score` is installed."""
        require_score_extra("mmc4 score")

    def check(self) -> None:
        """Raise UserError unless the model's weights and those of the heads are there and fit."""
        from mmc4_pipeline.clip.heads import HEADS, load_head
        from mmc4_pipeline.clip.weights import feature_width, require_weights

        require_weights(self.choice)
        width = feature_width(self.choice)
        for name, path in self._heads().items():
            load_head(HEADS[name], path, width, self.choice)

    def unscored(self) -> dict[str, str]:
        """Return the heads without weights."""
        made_for = " ".join(catalogue.CLIP_IDENTITY.values())
        remedies = {
            "nsfw": f"--nsfw_weights: run `mmc4 models fetch` ({catalogue.NSFW.name}, for CLIP {made_for}), or pass a "
            "head for another CLIP",
            "face": "--face_weights: train a face head for your CLIP with `mmc4 train_faces`",
        }
        return {name: remedy for name, remedy in remedies.items() if name not in self._heads()}

    def plan(self) -> dict[str, Any]:
        """Return the identity of the model and of its heads."""
        return {
            "clip": self.choice.identity(),
            "precision": self.precision,
            "save_features": self.save_features,
            "heads": {name: file_sha256(path) for name, path in self._heads().items()},
        }

    def load(self, machine: Machine, /) -> LoadedScorer:
        """Load the model and its heads."""
        require_score_extra("mmc4 score")  # the launching machine has it; a worker's image may lack it
        from mmc4_pipeline.clip.score import ClipScorer

        return ClipScorer(self.settings(machine), save_features=self.save_features)

    def _heads(self) -> dict[str, str]:
        return self.settings(Machine()).heads
