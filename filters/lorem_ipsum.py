"""Drops documents with placeholder text."""

from dataclasses import dataclass

from filters.base import DocumentText, TextFilter


@dataclass(frozen=True)
class LoremIpsum(TextFilter):
    """C4 (arXiv:1910.10683), section 2.2: drops every page with "lorem ipsum", in upper or lower case."""

    def decide(self, document: DocumentText, /) -> str | None:
        """Search for the phrase."""
        return self.reason if "lorem ipsum" in document.text.lower() else None
