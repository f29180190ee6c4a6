"""Drops documents whose text has a curly bracket: program code, most often."""

from dataclasses import dataclass

from filters.base import DocumentText, TextFilter


@dataclass(frozen=True)
class CurlyBracket(TextFilter):
    """C4 (Raffel et al. 2020, section 2.2): no page with "{" in one of the lines that are kept."""

    def decide(self, document: DocumentText) -> str | None:
        """Look for an opening bracket."""
        return self.reason if "{" in document.text else None
