"""Drops documents with a typesetter's filler text."""

from dataclasses import dataclass

from filters.base import DocumentText, TextFilter
from schemas.reasons import Reason


@dataclass(frozen=True)
class LoremIpsum(TextFilter):
    """C4 (Raffel et al. 2020, section 2.2): no page with "lorem ipsum", in any case of letters."""

    def decide(self, document: DocumentText) -> Reason | None:
        """Look for the phrase."""
        return Reason.LOREM_IPSUM if "lorem ipsum" in document.text.lower() else None
