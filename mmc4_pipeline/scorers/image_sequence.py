"""How similar the images of a document are to each other, from the features that CLIP has stored."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmc4_pipeline.scoring.base import ShardScores, SimpleScorer
from mmc4_pipeline.scoring.shard import Features, Shard
from schemas.columns import Column, Shape
from schemas.score import DocumentScores, ImageScore


@dataclass(frozen=True)
class ImageSequence(SimpleScorer):
    """Reads the features that `clip` wrote with `save_features`; `clip` names its scores, for example ViT-L-14_openai.

    - `in_sample_similarity`: mean cosine similarity of all pairs of a document's images (in-sample image similarity
      of the Multimodal Textbook, arXiv:2501.00958).
    - `image_sequence`: mean of neighbouring images minus mean of all pairs (after CoMM's filter of image
      sequences, arXiv:2406.10462). It is above 0 if the images are in an order.

    Both are of the images that have been scored, in the order of the page. A document with one image has neither.
    """

    clip: str = "clip"

    columns = (
        Column("in_sample_similarity", Shape.DOCUMENT, "mean CLIP similarity of a document's images", (-1.0, 1.0)),
        Column(
            "image_sequence",
            Shape.DOCUMENT,
            "mean CLIP similarity of neighbouring images minus that of all pairs of a document's images",
            (-2.0, 2.0),
        ),
    )

    @property
    def reads(self) -> tuple[str, ...]:
        """Return the CLIP."""
        return (self.clip,)

    @property
    def folder(self) -> str:
        """Return the scorer's name, with the CLIP if one was chosen."""
        return super().folder if self.clip == "clip" else f"{super().folder}_{self.clip}"

    def score_shard(self, shard: Shard, /) -> ShardScores:
        """Return the scores. Images without features are left out."""
        features = shard.features(self.clip)
        documents = []
        for page, images in shard.documents:
            positions = [image.position for image in images]
            values = _measured(page.key, sorted(positions), features)
            documents.append(DocumentScores(page.key, [ImageScore(position, {}) for position in positions], values))
        return ShardScores(documents)


def _measured(key: str, positions: list[int], features: Features) -> dict[str, Any]:
    found = [features[key, position] for position in positions if (key, position) in features]
    if len(found) < 2:
        return {}
    rows: npt.NDArray[np.float64] = np.array(found, dtype=np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)  # they are stored in half precision
    number = len(rows)
    # The sum of all pairs follows from the length of the sum of all rows, without a matrix of all pairs.
    every = (float(rows.sum(axis=0) @ rows.sum(axis=0)) - number) / (number * (number - 1))
    neighbours = float((rows[:-1] * rows[1:]).sum(axis=1).mean())
    return {"in_sample_similarity": every, "image_sequence": neighbours - every}
