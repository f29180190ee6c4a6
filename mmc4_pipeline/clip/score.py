"""Scores one shard of images: features once, similarities to the document's sentences, probabilities of the heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from torch import nn

from mmc4_pipeline.clip.ads import AdPrompts
from mmc4_pipeline.clip.cores import cores_for
from mmc4_pipeline.clip.engine import Engine
from mmc4_pipeline.clip.features import ImageFeatures
from mmc4_pipeline.clip.heads import FaceHead, NsfwHead, load_head, probabilities
from mmc4_pipeline.clip.model import ClipModel, Features, find_device
from mmc4_pipeline.clip.settings import ScorerSettings
from mmc4_pipeline.models.clip_choice import ClipChoice
from mmc4_pipeline.tar import read_image
from schemas.image import Image
from schemas.page import Page
from schemas.reasons import Reason
from schemas.score import DocumentScores, ImageScore


@dataclass(frozen=True, slots=True)
class ShardScores:
    """What was found out about a shard: a record for each document that has kept images, and their features."""

    documents: list[DocumentScores]
    features: list[ImageFeatures]


class Scorer:
    """A CLIP model with its heads, loaded once a worker process."""

    def __init__(self, settings: ScorerSettings) -> None:
        """Load model and heads; raises UserError where a file is missing or does not fit."""
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
        self._nsfw = self._head(NsfwHead, settings.nsfw_weights, settings.clip)
        self._face = self._head(FaceHead, settings.face_weights, settings.clip)

    @property
    def width(self) -> int:
        """The number of features."""
        return self._model.width

    @property
    def computed_in(self) -> str:
        """In what the scores are computed: "fp16 on cuda"."""
        return f"{self._model.precision} on {self._model.device.type}"

    def _head(self, head: type[NsfwHead | FaceHead], path: str | None, clip: ClipChoice) -> nn.Module | None:
        return load_head(head, path, self._model.width, clip) if path else None

    def score_shard(self, pages: Sequence[Page], images: Sequence[Image], tar: BinaryIO) -> ShardScores:
        """Score the kept images of a shard; the documents that have any come in the pages' order.

        An image that can't be decoded again gets the reason `corrupt` and no similarities.
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
            nsfw=self._probabilities(self._nsfw, found.images),
            face=self._probabilities(self._face, found.images),
            ad=self._ads.probabilities(found.images).tolist(),
            numbers={text: number for number, text in enumerate(sentences)},
            sentences=found.sentences,
        )
        return ShardScores(
            [shard.scores(page, by_document[page.key]) for page in scored],
            [feature for page in scored for feature in shard.features(by_document[page.key])],
        )

    @staticmethod
    def _probabilities(head: nn.Module | None, features: Features) -> Sequence[float | None]:
        return probabilities(head, features).tolist() if head is not None else [None] * len(features)


@dataclass(frozen=True, slots=True)
class _Shard:
    """All that was computed for a shard: each distinct image once, each distinct sentence once."""

    rows: dict[tuple[int, int], int]  # of the images that could be decoded, by their place in the tar
    images: Features
    nsfw: Sequence[float | None]
    face: Sequence[float | None]
    ad: Sequence[float]
    numbers: dict[str, int]
    sentences: Features

    def scores(self, page: Page, images: Sequence[Image]) -> DocumentScores:
        good = [(image, self.rows[_place(image)]) for image in images if _place(image) in self.rows]
        sentences = self.sentences[[self.numbers[text] for text in page.sentences]]
        similarity = self.images[[row for _, row in good]] @ sentences.T
        scores = [
            ImageScore(image.position, values, self.nsfw[row], self.face[row], self.ad[row])
            for (image, row), values in zip(good, similarity.tolist(), strict=True)
        ]
        scores += [
            ImageScore(image.position, [], reason=Reason.CORRUPT) for image in images if _place(image) not in self.rows
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
