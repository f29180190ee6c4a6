"""Drops documents with too many or too few images for their text."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from filters.base import AssignedDocument, DocumentFilter


@dataclass(frozen=True)
class ImageTextRatio(DocumentFilter):
    """Kept images per word of the text, as in NeMo Curator's InterleavedImageToTextRatioFilterStage.

    A limit that is null is not applied. Words are separated by spaces.
    """

    min: Annotated[float, Ge(0)] | None = None
    max: Annotated[float, Ge(0)] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if the range is empty."""
        if self.min is not None and self.max is not None and self.min > self.max:
            message = f"min ({self.min}) is above max ({self.max})"
            raise ValueError(message)

    def decide(self, document: AssignedDocument, /) -> str | None:
        """Compare the ratio with both limits."""
        ratio = len(document.matched) / max(document.words, 1)
        too_low = self.min is not None and ratio < self.min
        too_high = self.max is not None and ratio > self.max
        return self.reason if too_low or too_high else None
