"""Scores: what CLIP and its heads say of a document's images; what the score stage writes."""

from dataclasses import dataclass

from schemas.arrow import Float32
from schemas.reasons import Reason


@dataclass(frozen=True, slots=True)
class ImageScore:
    """One image's scores: cosine similarity to each sentence, probabilities of the heads (null without weights).

    `ad` is the probability that CLIP itself gives to sentences about advertisements (clip/ads.py).
    """

    position: int
    similarity: list[Float32]
    nsfw: Float32 | None = None
    face: Float32 | None = None
    ad: Float32 | None = None
    reason: Reason | None = None  # `corrupt` for a stored image that could not be decoded again


@dataclass(frozen=True, slots=True)
class DocumentScores:
    """A document's scored images in page order; the similarity lists are the rows of an images x sentences matrix."""

    key: str
    images: list[ImageScore]
