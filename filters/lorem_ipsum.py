"""Drops documents with a typesetter's filler text."""

from dataclasses import dataclass

from filters.base import DocumentText, TextFilter


@dataclass(frozen=True)
class LoremIpsum(TextFilter):
    """C4 (Raffel et al. 2020, section 2.2): no page with "lorem ipsum", in any case of letters."""

    def decide(self, document: DocumentText) -> str | None:
        """Look for the phrase."""
        return self.reason if "lorem ipsum" in document.text.lower() else None
