"""Scores of a document's images by CLIP and its heads, as the score stage writes them."""

from dataclasses import dataclass, field

from schemas.arrow import Float32
from schemas.reasons import Reason


@dataclass(frozen=True, slots=True)
class ImageScore:
    """One image's scores: cosine similarity to each sentence, and probabilities of the heads (null without weights).

    `ad` is the probability of an advertisement, from CLIP's similarity to prompts (clip/ads.py).
    """

    position: int
    similarity: list[Float32]
    nsfw: Float32 | None = field(default=None, kw_only=True)
    face: Float32 | None = field(default=None, kw_only=True)
    ad: Float32 | None = field(default=None, kw_only=True)
    # `corrupt` for a stored image that could not be decoded again
    reason: Reason | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class DocumentScores:
    """A document's scored images in page order; the similarity lists are the rows of an images x sentences matrix."""

    key: str
    images: list[ImageScore]
