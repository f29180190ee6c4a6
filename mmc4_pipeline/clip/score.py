"""Scores one shard of images: features once, similarities to the document's sentences, probabilities of the heads."""

from collections.abc import Sequence
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image as PillowImage
from torch import nn

from mmc4_pipeline.clip.heads import FaceHead, NsfwHead, load_head, probabilities
from mmc4_pipeline.clip.model import ClipModel, Features, find_device
from mmc4_pipeline.clip.settings import ClipChoice, ScorerSettings
from mmc4_pipeline.images.store import read_image
from schemas.image import Image
from schemas.page import Page
from schemas.reasons import Reason
from schemas.score import DocumentScores, ImageScore

IMAGE_BATCH = 32


class Scorer:
    """A CLIP model with its heads, loaded once a worker process."""

    def __init__(self, settings: ScorerSettings) -> None:
        """Load model and heads; raises UserError where a file is missing or does not fit."""
        self._model = ClipModel(settings.clip, find_device(settings.device))
        self._nsfw = self._head(NsfwHead, settings.nsfw_weights, settings.clip)
        self._face = self._head(FaceHead, settings.face_weights, settings.clip)

    def _head(self, head: type[NsfwHead | FaceHead], path: str | None, clip: ClipChoice) -> nn.Module | None:
        return load_head(head, path, self._model.width, clip) if path else None

    def score_shard(self, pages: Sequence[Page], images: Sequence[Image], tar: BinaryIO) -> list[DocumentScores]:
        """Score the kept images of a shard; give one record for each document that has any, in the pages' order.

        An image that can't be decoded again gets the reason `corrupt` and no similarities.
        """
        kept = [image for image in images if image.reason is None]
        places = sorted({(image.offset or 0, image.length or 0) for image in kept})
        features = self._features_of_images(places, tar)
        scored = {page.key for page in pages} & {image.key for image in kept}
        sentences = sorted({text for page in pages if page.key in scored for text in page.sentences})
        texts = dict(zip(sentences, self._model.text_features(sentences), strict=True))
        by_document: dict[str, list[Image]] = {}
        for image in kept:
            by_document.setdefault(image.key, []).append(image)
        return [
            self._score_document(page, by_document[page.key], features, texts) for page in pages if page.key in scored
        ]

    def _features_of_images(self, places: Sequence[tuple[int, int]], tar: BinaryIO) -> dict[int, Features]:
        """Give the features of each stored image that can be decoded, by its offset."""
        features: dict[int, Features] = {}
        for start in range(0, len(places), IMAGE_BATCH):
            opened = [
                (offset, _open(read_image(tar, offset, size))) for offset, size in places[start : start + IMAGE_BATCH]
            ]
            good = [(offset, image) for offset, image in opened if image is not None]
            if good:
                batch = self._model.image_features([image for _, image in good])
                features.update(zip((offset for offset, _ in good), batch, strict=True))
        return features

    def _score_document(
        self, page: Page, images: Sequence[Image], features: dict[int, Features], texts: dict[str, Features]
    ) -> DocumentScores:
        sentences = np.stack([texts[sentence] for sentence in page.sentences])
        good = [image for image in images if image.offset in features]
        stacked = (
            np.stack([features[image.offset or 0] for image in good])
            if good
            else np.zeros((0, self._model.width), np.float32)
        )
        similarity = stacked @ sentences.T
        nsfw, face = self._probabilities(self._nsfw, stacked), self._probabilities(self._face, stacked)
        scores = {
            image.position: ImageScore(image.position, similarity[row].tolist(), nsfw[row], face[row])
            for row, image in enumerate(good)
        }
        missing = [image.position for image in images if image.position not in scores]
        scores |= {position: ImageScore(position, [], reason=Reason.CORRUPT) for position in missing}
        return DocumentScores(page.key, [scores[position] for position in sorted(scores)])

    @staticmethod
    def _probabilities(head: nn.Module | None, features: Features) -> Sequence[float | None]:
        return probabilities(head, features).tolist() if head is not None else [None] * len(features)


def _open(data: bytes) -> PillowImage.Image | None:
    try:
        return PillowImage.open(BytesIO(data)).convert("RGB")
    except (OSError, ValueError, SyntaxError):
        return None
