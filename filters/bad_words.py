"""Drops documents with a word of a list that the user gives."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from filters.base import DocumentText, TextFilter


@dataclass(frozen=True)
class BadWords(TextFilter):
    """C4 (Raffel et al. 2020, section 2.2): no page with a word of a list; C4 took LDNOOBW's English one.

    `list` is the path or URL of a text file with one word or phrase a line. They count whatever their case, where no
    letter stands right before or after them; C4 itself overlooks those at the ends of a line.
    """

    list: str

    def prepared(self, read: Callable[[str], bytes]) -> Self:
        """Read the list."""
        lines = read(self.list).decode("utf-8", "replace").lower().splitlines()
        words = sorted({re.escape(line.strip()) for line in lines if line.strip()})
        pattern = re.compile(rf"(?<![a-z])(?:{'|'.join(words)})(?![a-z])") if words else None
        ready = replace(self)
        object.__setattr__(ready, "_pattern", pattern)  # no field: it is not part of the recipe
        return ready

    def decide(self, document: DocumentText) -> str | None:
        """Look for the words; the filter must have been prepared."""
        pattern: re.Pattern[str] | None = self._pattern  # type: ignore[attr-defined]
        return self.reason if pattern and pattern.search(document.text.lower()) else None
