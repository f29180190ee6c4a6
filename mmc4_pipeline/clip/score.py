"""Score one shard of images: similarities to their document's sentences, and probabilities of the heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmc4_pipeline.clip.ads import AdPrompts
from mmc4_pipeline.clip.cores import cores_for
from mmc4_pipeline.clip.engine import Engine
from mmc4_pipeline.clip.features import ImageFeatures, write_features
from mmc4_pipeline.clip.heads import HEADS, load_head, probabilities
from mmc4_pipeline.clip.model import ClipModel, Features, find_device
from mmc4_pipeline.clip.settings import ScorerSettings
from mmc4_pipeline.scoring.base import ShardScores
from mmc4_pipeline.scoring.shard import Place, Shard, place_of
from schemas.columns import SIMILARITY
from schemas.image import Image
from schemas.manifest import WrittenFile
from schemas.page import Page
from schemas.reasons import Reason
from schemas.score import DocumentScores, ImageScore


class ClipScorer:
    """A CLIP model with its heads, loaded once per worker process."""

    def __init__(self, settings: ScorerSettings, *, save_features: bool = False) -> None:
        """Load the model and the heads. Raises UserError if a file is missing or does not fit."""
        self._save_features = save_features
        cores = cores_for(settings.processes)
        self._model = ClipModel(
            settings.clip,
            find_device(settings.device),
            settings.precision,
            compiled=settings.compiled,
            cores=cores,
        )
        self.engine = Engine(self._model, cores)
        self._ads = AdPrompts(self._model)
        self._heads = {
            name: load_head(HEADS[name], path, self._model.width, settings.clip)
            for name, path in settings.heads.items()
        }

    @property
    def computed_in(self) -> str:
        """The number format and the device: "fp16 on cuda"."""
        return f"{self._model.precision} on {self._model.device.type}"

    def score_shard(self, shard: Shard, /) -> ShardScores:
        """Return the scores of a shard, and write the images' features if they are to be saved.

        An image that cannot be decoded again is dropped as `corrupt` and has no similarities.
        """
        sentences = sorted({text for page, _ in shard.documents for text in page.sentences})
        found = self.engine.features((picture for _, picture in shard.pictures()), sentences)
        decoded = (place for place, good in zip(shard.places, found.decoded, strict=True) if good)
        computed = _Computed(
            rows={place: row for row, place in enumerate(decoded)},
            images=found.images,
            probabilities=self._probabilities(found.images),
            numbers={text: number for number, text in enumerate(sentences)},
            sentences=found.sentences,
        )
        return ShardScores(
            documents=[computed.scores(*document) for document in shard.documents],
            computed_in=self.computed_in,
            summary=f"and {len(sentences)} sentences",
            files=self._written_features(shard, computed) if self._save_features else (),
        )

    def _written_features(self, shard: Shard, computed: "_Computed") -> list[WrittenFile]:
        features = [feature for _, images in shard.documents for feature in computed.features(images)]
        return [write_features(shard.path_of("features"), features, self._model.width)]

    def _probabilities(self, features: Features) -> dict[str, list[float]]:
        """Return the probabilities of each image, by column."""
        of_heads = {name: probabilities(head, features).tolist() for name, head in self._heads.items()}
        return {**of_heads, "ad": self._ads.probabilities(features).tolist()}


@dataclass(frozen=True, slots=True)
class _Computed:
    """Everything computed for a shard: each distinct image once, each distinct sentence once."""

    rows: dict[Place, int]  # of the decoded images
    images: Features
    probabilities: dict[str, list[Any]]  # numbers, by column
    numbers: dict[str, int]
    sentences: Features

    def scores(self, page: Page, images: Sequence[Image]) -> DocumentScores:
        good = [(image, self.rows[place_of(image)]) for image in images if place_of(image) in self.rows]
        sentences = self.sentences[[self.numbers[text] for text in page.sentences]]
        similarity = self.images[[row for _, row in good]] @ sentences.T
        scores = [
            ImageScore(
                image.position,
                {SIMILARITY: values, **{name: column[row] for name, column in self.probabilities.items()}},
            )
            for (image, row), values in zip(good, similarity.tolist(), strict=True)
        ]
        scores += [
            ImageScore(image.position, {}, reason=Reason.CORRUPT)
            for image in images
            if place_of(image) not in self.rows
        ]
        return DocumentScores(page.key, sorted(scores, key=lambda score: score.position))

    def features(self, images: Sequence[Image]) -> list[ImageFeatures]:
        return [
            ImageFeatures(image.key, image.position, self.images[self.rows[place_of(image)]])
            for image in sorted(images, key=lambda image: image.position)
            if place_of(image) in self.rows
        ]
