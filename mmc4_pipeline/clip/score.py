"""Score one shard of images: similarities to their document's sentences, and probabilities of the heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from mmc4_pipeline.clip.ads import AdPrompts
from mmc4_pipeline.clip.cores import cores_for
from mmc4_pipeline.clip.engine import Engine
from mmc4_pipeline.clip.features import ImageFeatures
from mmc4_pipeline.clip.heads import HEADS, load_head, probabilities
from mmc4_pipeline.clip.model import ClipModel, Features, find_device
from mmc4_pipeline.clip.settings import ScorerSettings
from mmc4_pipeline.tar import read_image
from schemas.image import Image
from schemas.page import Page
from schemas.reasons import Reason
from schemas.score import DocumentScores, ImageScore


@dataclass(frozen=True, slots=True)
class ShardScores:
    """The scores of a shard: one record for each document that has kept images, and the images' features."""

    documents: list[DocumentScores]
    features: list[ImageFeatures]
    sentences: int  # distinct ones


class Scorer:
    """A CLIP model with its heads, loaded once per worker process."""

    def __init__(self, settings: ScorerSettings) -> None:
        """Load the model and the heads. Raises UserError if a file is missing or does not fit."""
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
    def width(self) -> int:
        """The number of features of an image."""
        return self._model.width

    @property
    def computed_in(self) -> str:
        """The number format and the device: "fp16 on cuda"."""
        return f"{self._model.precision} on {self._model.device.type}"

    def score_shard(self, pages: Sequence[Page], images: Sequence[Image], tar: BinaryIO) -> ShardScores:
        """Return the scores of a shard's kept images, for the documents that have any, in the pages' order.

        An image that cannot be decoded again is dropped as `corrupt` and has no similarities.
        """
        by_document: dict[str, list[Image]] = {}
        for image in images:
            if image.reason is None:
                by_document.setdefault(image.key, []).append(image)
        scored = [page for page in pages if page.key in by_document]
        places = sorted({_place(image) for page in scored for image in by_document[page.key]})
        sentences = sorted({text for page in scored for text in page.sentences})
        files = (read_image(tar, offset, length) for offset, length in places)
        found = self.engine.features(files, sentences)
        decoded = (place for place, good in zip(places, found.decoded, strict=True) if good)
        shard = _Shard(
            rows={place: row for row, place in enumerate(decoded)},
            images=found.images,
            probabilities=self._probabilities(found.images),
            numbers={text: number for number, text in enumerate(sentences)},
            sentences=found.sentences,
        )
        return ShardScores(
            documents=[shard.scores(page, by_document[page.key]) for page in scored],
            features=[feature for page in scored for feature in shard.features(by_document[page.key])],
            sentences=len(sentences),
        )

    def _probabilities(self, features: Features) -> dict[str, list[float]]:
        """Return the probabilities of each image, by the names of ImageScore's fields."""
        of_heads = {name: probabilities(head, features).tolist() for name, head in self._heads.items()}
        return {**of_heads, "ad": self._ads.probabilities(features).tolist()}


@dataclass(frozen=True, slots=True)
class _Shard:
    """Everything computed for a shard: each distinct image once, each distinct sentence once."""

    rows: dict[tuple[int, int], int]  # of the decoded images, by their place in the tar
    images: Features
    probabilities: dict[str, list[Any]]  # numbers, by the names of ImageScore's fields
    numbers: dict[str, int]
    sentences: Features

    def scores(self, page: Page, images: Sequence[Image]) -> DocumentScores:
        good = [(image, self.rows[_place(image)]) for image in images if _place(image) in self.rows]
        sentences = self.sentences[[self.numbers[text] for text in page.sentences]]
        similarity = self.images[[row for _, row in good]] @ sentences.T
        scores = [
            ImageScore(
                position=image.position,
                similarity=values,
                **{name: column[row] for name, column in self.probabilities.items()},
            )
            for (image, row), values in zip(good, similarity.tolist(), strict=True)
        ]
        scores += [
            ImageScore(position=image.position, similarity=[], reason=Reason.CORRUPT)
            for image in images
            if _place(image) not in self.rows
        ]
        return DocumentScores(page.key, sorted(scores, key=lambda score: score.position))

    def features(self, images: Sequence[Image]) -> list[ImageFeatures]:
        return [
            ImageFeatures(image.key, image.position, self.images[self.rows[_place(image)]])
            for image in sorted(images, key=lambda image: image.position)
            if _place(image) in self.rows
        ]


def _place(image: Image) -> tuple[int, int]:
    return image.offset or 0, image.length or 0
