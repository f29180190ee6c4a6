"""Drops image links to ad servers, and images that lead there when clicked."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Self

from adblock import Engine, FilterSet

from filters.base import LinkFilter, Stricter
from filters.hosts import host_and_port, split
from schemas.page import ImageLink
from schemas.reasons import Reason

_OWN_LIST = "ads.txt"  # beside this file
_PLAIN = re.compile(r"https?://[a-z0-9.-]*[a-z0-9](?:[/?][!-~]*)?")  # the engine takes these as browsers do
_NO_RULE = re.compile(r"!|\[|#|<|$")
_COSMETIC = re.compile(r"#[@?$%]*#")  # hides elements of a page by their look; says nothing of URLs


@dataclass(frozen=True)
class Ads(LinkFilter):
    """Not in MMC4: drops what a browser's ad blocker would, by rules in EasyList's format.

    `list` is the path or URL of such a list; without one a short list of well-known ad servers counts (`ads.txt`). An
    image is judged as an image that its page loads; where a click on it leads, as a request of another kind, to which
    rules for images alone don't apply. Rules that hide elements by their look, and lines that the engine
    (Brave's) can't read, count for nothing, as in browsers.
    """

    list: str | None = None

    reason = Reason.AD
    stricter = {"list": Stricter.SAME}

    def prepared(self, read: Callable[[str], bytes]) -> Self:
        """Read the list; raises ValueError for one without any rule for URLs."""
        content = read(self.list) if self.list else (files("filters") / _OWN_LIST).read_bytes()
        text = content.decode("utf-8", "replace")
        rules = FilterSet(debug=False)
        rules.add_filter_list(text)
        engine = Engine(filter_set=rules, optimize=False)
        if not any(engine.filter_exists(line.strip()) for line in text.splitlines() if _could_be_rule(line)):
            message = f"{self.list}: has no rule for URLs in EasyList's format, as in ||ads.example^"
            raise ValueError(message)
        ready = replace(self)
        object.__setattr__(ready, "_engine", engine)  # no field: it is not part of the recipe
        return ready

    def decide(self, link: ImageLink, page_url: str = "") -> str | None:
        """Judge where the image comes from, then where it leads; the filter must have been prepared."""
        page = _plain(page_url)
        if self._blocks(link.url, page, "image") or (link.leads_to and self._blocks(link.leads_to, page, "other")):
            return self.reason
        return None

    def _blocks(self, url: str, page: str, kind: str) -> bool:
        engine: Engine = self._engine  # type: ignore[attr-defined]
        return engine.check_network_urls(_plain(url), page, kind).matched


def _could_be_rule(line: str) -> bool:
    return _NO_RULE.match(line.strip()) is None and _COSMETIC.search(line) is None


def _plain(url: str) -> str:
    """Give the URL with its host in normal form: the engine takes it letter by letter. Empty for what is no URL."""
    if _PLAIN.fullmatch(url):
        return url
    parts = split(url)
    if parts is None or not parts.hostname:
        return ""
    plain = parts._replace(netloc=host_and_port(parts), fragment="").geturl()
    return plain.encode("utf-8", "replace").decode("utf-8")
