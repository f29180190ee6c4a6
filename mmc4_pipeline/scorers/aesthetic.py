"""How much people would like an image, from the features that CLIP has stored: LAION's aesthetic predictor."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mmc4_pipeline.clip.extra import require_score_extra
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.catalogue import Weights
from mmc4_pipeline.models.clip_choice import file_sha256
from mmc4_pipeline.models.folder import fetched, models_folder
from mmc4_pipeline.scoring.base import LoadedScorer, Machine, Scorer, ShardScores
from mmc4_pipeline.scoring.shard import Shard
from schemas.columns import Column, Shape
from schemas.score import DocumentScores, ImageScore


@dataclass(frozen=True)
class Aesthetic(Scorer):
    """Reads the features that CLIP wrote with `save_features`; `clip` names its scores.

    The published head (`weights`: the fetched file by default) is for OpenAI's ViT-L/14. Its scores are about 1 to 10;
    LAION-Aesthetics has the images of at least 4.5, 5 or 6 (github.com/LAION-AI/aesthetic-predictor).
    """

    clip: str = "ViT-L-14_openai"
    weights: str | None = None

    columns = (Column("aesthetic", Shape.IMAGE, "score of LAION's aesthetic predictor", (0.0, 10.0)),)

    @property
    def reads(self) -> tuple[str, ...]:
        """Return the CLIP."""
        return (self.clip,)

    @property
    def published(self) -> tuple[Weights, ...]:
        """Return the head."""
        return () if self.weights else (catalogue.AESTHETIC,)

    def check(self) -> None:
        """Raise UserError unless the head is there."""
        require_score_extra("--scorer aesthetic")
        from mmc4_pipeline.clip.heads import load_aesthetic_head

        load_aesthetic_head(self._path())

    def plan(self) -> dict[str, Any]:
        """Return the settings, with the sha256 of the head."""
        return {"settings": {"clip": self.clip, "weights": file_sha256(self._path())}, "columns": self.columns}

    def load(self, _machine: Machine, /) -> LoadedScorer:
        """Load the head."""
        require_score_extra("--scorer aesthetic")
        from mmc4_pipeline.clip.heads import load_aesthetic_head

        return _Loaded(self.clip, *load_aesthetic_head(self._path()))

    def _path(self) -> str:
        if path := self.weights or fetched(catalogue.AESTHETIC):
            return path
        raise UserError(
            f"--scorer aesthetic: {models_folder() / catalogue.AESTHETIC.name} is not there; run `mmc4 models fetch "
            "--scorer aesthetic`, which also prints where to get it by hand"
        )


@dataclass(frozen=True)
class _Loaded:
    """A linear head: a weight for each feature, and what is added to their sum."""

    clip: str
    head: np.ndarray[Any, np.dtype[np.float64]]
    bias: float

    def score_shard(self, shard: Shard, /) -> ShardScores:
        features = shard.features(self.clip)
        documents = []
        for page, images in shard.documents:
            found = {image.position: features.get((page.key, image.position)) for image in images}
            scores = [ImageScore(position, self._values(row)) for position, row in found.items()]
            documents.append(DocumentScores(page.key, scores))
        return ShardScores(documents)

    def _values(self, features: np.ndarray[Any, Any] | None) -> dict[str, float]:
        if features is None:
            return {}
        if features.shape != self.head.shape:
            raise UserError(
                f"--scorer aesthetic: the scores {self.clip} have {len(features)} features per image, but the head is "
                f"for {len(self.head)}; name the scores of OpenAI's ViT-L/14 with clip=…, or a head with weights=…"
            )
        row = features.astype(np.float64)
        return {"aesthetic": float(row / np.linalg.norm(row) @ self.head) + self.bias}
