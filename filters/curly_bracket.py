"""Drops documents whose text has a curly bracket: most of them are program code."""

from dataclasses import dataclass

from filters.base import DocumentText, TextFilter


@dataclass(frozen=True)
class CurlyBracket(TextFilter):
    """C4 (arXiv:1910.10683), section 2.2: drops every page with "{" in one of the lines that are kept."""

    def decide(self, document: DocumentText, /) -> str | None:
        """Search for an opening bracket."""
        return self.reason if "{" in document.text else None
