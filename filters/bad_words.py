"""Drops documents that contain a word of a list that the user provides."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from filters.base import DocumentText, FileTextFilter, TextFilter


@dataclass(frozen=True)
class BadWords(FileTextFilter):
    """C4 (Raffel et al. 2020, section 2.2): drops every page with a word of a list; C4 used the English LDNOOBW list.

    `list` is the path or URL of a text file with one word or phrase per line. A word counts in upper and lower case,
    and only if no letter is directly before or after it. (C4 itself overlooks words at the ends of a line.)
    """

    list: str

    def load(self, read: Callable[[str], bytes], /) -> "LoadedBadWords":
        """Read the list."""
        lines = read(self.list).decode("utf-8", "replace").lower().splitlines()
        words = sorted({re.escape(line.strip()) for line in lines if line.strip()})
        return LoadedBadWords(re.compile(rf"(?<![a-z])(?:{'|'.join(words)})(?![a-z])") if words else None)


class LoadedBadWords(TextFilter):
    """The filter with its list as one regular expression, None if the list is empty."""

    def __init__(self, pattern: re.Pattern[str] | None) -> None:
        self._pattern = pattern

    def decide(self, document: DocumentText, /) -> str | None:
        """Search the text for the words."""
        return self.reason if self._pattern and self._pattern.search(document.text.lower()) else None
