"""Drops documents with too few sentences to be worth their images."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from filters.base import DocumentText, TextFilter
from schemas.reasons import Reason


@dataclass(frozen=True)
class Sentences(TextFilter):
    """C4 (arXiv:1910.10683), section 2.2: at least `min` sentences.

    C4's reference implementation uses 3. The first version of the paper says "fewer than 5 sentences".
    """

    min: Annotated[int, Ge(1)]

    reason = Reason.TOO_FEW_SENTENCES

    def decide(self, document: DocumentText, /) -> str | None:
        """Count the sentences."""
        return self.reason if len(document.sentences) < self.min else None
