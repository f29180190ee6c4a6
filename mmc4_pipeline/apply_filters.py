"""Applies a recipe's filters to the images of one document, in the recipe's order: the first reason counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from filters.base import (
    CorpusFilter,
    DocumentFilter,
    Filter,
    GroupFilter,
    ImageFilter,
    LinkFilter,
    ScoreFilter,
    TextFilter,
)
from schemas.image import Image
from schemas.page import ImageLink
from schemas.reasons import Reason
from schemas.score import ImageScore


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image link with all that is known of it so far."""

    image: Image
    link: ImageLink | None = None
    score: ImageScore | None = None
    page_url: str = ""


Learned = Mapping[str, Sequence[int]]  # what each corpus filter found in its sample, by its key in the recipe


def apply_filters(
    candidates: Sequence[Candidate], filters: Mapping[str, Filter], learned: Learned
) -> list[Reason | None]:
    """Give for each candidate of a document, in page order, the reason to drop it, or None.

    A filter sees only what the filters before it left, so that of two duplicates never both are lost.
    Text filters came before, document filters come after the assignment: both are passed over.
    """
    reasons: list[Reason | None] = [candidate.image.reason for candidate in candidates]
    for key, item in filters.items():
        left = [index for index, reason in enumerate(reasons) if reason is None]
        verdicts = _decide(item, [candidates[index] for index in left], learned.get(key, ()))
        for index, reason in zip(left, verdicts, strict=True):
            reasons[index] = reason
    return reasons


def _decide(item: Filter, left: Sequence[Candidate], learned: Sequence[int]) -> list[Reason | None]:
    match item:
        case LinkFilter():
            return [item.decide(candidate.link, candidate.page_url) if candidate.link else None for candidate in left]
        case ImageFilter():
            return [item.decide(candidate.image) for candidate in left]
        case GroupFilter():
            return item.decide([candidate.image for candidate in left])
        case CorpusFilter():
            return [item.decide(candidate.image, learned) for candidate in left]
        case ScoreFilter():
            return [item.decide(candidate.score) if candidate.score else None for candidate in left]
        case TextFilter() | DocumentFilter():
            return [None] * len(left)
    message = f"{type(item).__name__} is of no known kind; see filters/base.py"
    raise TypeError(message)
