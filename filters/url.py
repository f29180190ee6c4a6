"""Drops image links by their URL: the extension of its path, and words that name site furniture."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from filters.base import LinkFilter, Stricter
from schemas.page import ImageLink
from schemas.reasons import Reason


@dataclass(frozen=True)
class Url(LinkFilter):
    """MMC4, section 3: png, jpeg and jpg only; no URL with logo, button, icon, plugin or widget in it."""

    extensions: tuple[str, ...]
    forbidden_tokens: tuple[str, ...] = ()

    stricter = {"extensions": Stricter.SUBSET, "forbidden_tokens": Stricter.SUPERSET}

    def decide(self, link: ImageLink, page_url: str = "") -> str | None:
        """Judge the extension first, then the tokens, both without regard to case."""
        try:
            path = urlsplit(link.url).path
        except ValueError:  # "http://[broken": no URL that could be fetched
            return Reason.URL_EXTENSION
        if PurePosixPath(path).suffix.lower().lstrip(".") not in self.extensions:
            return Reason.URL_EXTENSION
        url = link.url.lower()
        return Reason.URL_TOKEN if any(token in url for token in self.forbidden_tokens) else None
