"""Drops whole documents, by their number of sentences and images and by how well these match."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from filters.base import AssignedDocument, DocumentFilter


@dataclass(frozen=True)
class ShareAbove:
    """At least `share` of the assigned images must have a similarity above `similarity`."""

    similarity: Annotated[float, Ge(-1), Le(1)]
    share: Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class DocumentRules(DocumentFilter):
    """MMC4 (arXiv:2304.06939), section 3.2 (core): 4 to 40 sentences, 2 to 15 images, 75% of them above 0.25.

    A limit that is null is not applied.
    """

    min_images: Annotated[int, Ge(0)] = 1
    max_images: Annotated[int, Ge(0)] | None = None
    min_sentences: Annotated[int, Ge(0)] | None = None
    max_sentences: Annotated[int, Ge(0)] | None = None
    share_above: ShareAbove | None = None

    def decide(self, document: AssignedDocument, /) -> str | None:
        """Apply all rules at once, because they share one reason."""
        images = len(document.matched)
        fits = (
            _within(images, self.min_images, self.max_images)
            and _within(document.sentences, self.min_sentences, self.max_sentences)
            and self._matches_well(document.matched)
        )
        return None if fits else self.reason

    def _matches_well(self, matched: list[float]) -> bool:
        if self.share_above is None:
            return True
        above = sum(similarity > self.share_above.similarity for similarity in matched)
        return above >= self.share_above.share * len(matched)


def _within(value: int, low: int | None, high: int | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)
