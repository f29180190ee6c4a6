"""Drops documents with too few sentences to be worth their images."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from filters.base import DocumentText, TextFilter
from schemas.reasons import Reason


@dataclass(frozen=True)
class Sentences(TextFilter):
    """C4 (Raffel et al. 2020, section 2.2): at least `min` sentences.

    C4's reference implementation has 3; "fewer than 5 sentences" is what the paper first said.
    """

    min: Annotated[int, Ge(1)]

    reason = Reason.TOO_FEW_SENTENCES

    def decide(self, document: DocumentText) -> str | None:
        """Count the sentences."""
        return self.reason if len(document.sentences) < self.min else None
