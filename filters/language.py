"""Drops documents that are not, or not clearly enough, in one language."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from langdetect import DetectorFactory, LangDetectException, detect_langs

from filters.base import DocumentText, TextFilter

MAX_CHARACTERS = 10_000  # langdetect itself reads no more of a text

DetectorFactory.seed = 0  # it draws at random otherwise, and would judge a text differently from run to run


@dataclass(frozen=True)
class Language(TextFilter):
    """C4 (Raffel et al. 2020, section 2.2): langdetect says `language` (en) with `min_probability` (0.99).

    `language` is an ISO 639-1 code as langdetect has them.
    """

    language: str
    min_probability: Annotated[float, Ge(0), Le(1)]

    def decide(self, document: DocumentText) -> str | None:
        """Judge the likeliest language; a text without letters has none."""
        try:
            likeliest = detect_langs(document.text[:MAX_CHARACTERS])[0]
        except (LangDetectException, IndexError):
            return self.reason
        fits = likeliest.lang == self.language and likeliest.prob >= self.min_probability
        return None if fits else self.reason
