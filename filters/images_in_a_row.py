"""Drops documents with a gallery: many images between two sentences of the page."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from filters.base import AssignedDocument, DocumentFilter


@dataclass(frozen=True)
class ImagesInARow(DocumentFilter):
    """Not in MMC4: at most `max` kept images with no sentence of the document between them on its page."""

    max: Annotated[int, Ge(1)]

    needs_places = True

    def decide(self, document: AssignedDocument, /) -> str | None:
        """Count the images after the same sentence; images without a place do not count."""
        in_a_row = Counter(after for after in document.after_sentences if after is not None)
        return self.reason if max(in_a_row.values(), default=0) > self.max else None
