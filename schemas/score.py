"""Scores of a document and its images, by the names of the columns that scorers declare (schemas/columns.py)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.columns import SIMILARITY

Values = Mapping[str, Any]  # by the column's name: a number, a text, or a list with a number for each sentence


@dataclass(frozen=True, slots=True)
class ImageScore:
    """One image's scores. A column without a value may be missing, and so may a number within a list (None)."""

    position: int
    values: Values
    # `corrupt` for a stored image that could not be decoded again
    reason: str | None = field(default=None, kw_only=True)

    @property
    def similarity(self) -> Sequence[float]:
        """CLIP's cosine similarity to each sentence."""
        return self.values.get(SIMILARITY) or ()

    def number(self, column: str) -> float | None:
        """Return the value of a column; for a matrix, the highest one for any sentence. None if there is none."""
        value = self.values.get(column)
        if isinstance(value, Sequence):
            return max((item for item in value if item is not None), default=None)
        return value

    def at(self, column: str, sentence: int) -> float | None:
        """Return a matrix's value for a sentence, None if there is none."""
        row = self.values.get(column)
        return row[sentence] if row else None


@dataclass(frozen=True, slots=True)
class DocumentScores:
    """A document's scored images in page order, and the columns that have one value for the document."""

    key: str
    images: list[ImageScore]
    values: Values = field(default_factory=dict)
