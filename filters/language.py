"""Drops documents that are not in a language, or not clearly enough."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from langdetect import DetectorFactory, LangDetectException, detect_langs

from filters.base import DocumentText, TextFilter

MAX_CHARACTERS = 10_000  # langdetect itself reads no more than that

DetectorFactory.seed = 0  # otherwise it samples at random, and the same text could get another result in each run


@dataclass(frozen=True)
class Language(TextFilter):
    """C4 (arXiv:1910.10683), section 2.2: langdetect detects `language` (en) with at least `min_probability` (0.99).

    `language` is one of langdetect's codes, most of which are ISO 639-1.
    """

    language: str
    min_probability: Annotated[float, Ge(0), Le(1)]

    def decide(self, document: DocumentText, /) -> str | None:
        """Compare the most probable language; a text without letters has none and is dropped."""
        try:
            most_probable = detect_langs(document.text[:MAX_CHARACTERS])[0]
        except (LangDetectException, IndexError):
            return self.reason
        fits = most_probable.lang == self.language and most_probable.prob >= self.min_probability
        return None if fits else self.reason
