"""Drops image links by their URL: by its extension, and by words that are typical of a site's decoration."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from filters.base import LinkFilter, Stricter
from schemas.page import ImageLink
from schemas.reasons import Reason


@dataclass(frozen=True)
class Url(LinkFilter):
    """MMC4 (arXiv:2304.06939), section 3: only png, jpeg and jpg, and no logo, button, icon, plugin or widget."""

    extensions: tuple[str, ...]
    forbidden_tokens: tuple[str, ...] = ()

    stricter = {"extensions": Stricter.SUBSET, "forbidden_tokens": Stricter.SUPERSET}

    def decide(self, link: ImageLink, page_url: str = "", /) -> str | None:
        """Check the extension first, then the tokens, both in lower case."""
        try:
            path = urlsplit(link.url).path
        except ValueError:  # "http://[broken" can't be fetched
            return Reason.URL_EXTENSION
        if PurePosixPath(path).suffix.lower().lstrip(".") not in self.extensions:
            return Reason.URL_EXTENSION
        url = link.url.lower()
        return Reason.URL_TOKEN if any(token in url for token in self.forbidden_tokens) else None
