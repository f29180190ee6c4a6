"""Drops image links to ad servers, and images that link to one."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

from adblock import Engine, FilterSet

from filters.base import FileLinkFilter, LinkFilter, Stricter
from filters.hosts import MAX_NAME, host_and_port, split
from schemas.page import ImageLink
from schemas.reasons import Reason

_BUILT_IN = "ads.txt"  # next to this file
# The engine reads these as browsers do.
_PLAIN = re.compile(rf"https?://[a-z0-9.-]{{0,{MAX_NAME - 1}}}[a-z0-9](?:[/?][!-~]*)?").fullmatch
_NOT_A_RULE = re.compile(r"!|\[|#|<|$")
_COSMETIC = re.compile(r"#[@?$%]*#")  # hides elements of a page by their look and does not concern URLs


@dataclass(frozen=True)
class Ads(FileLinkFilter):
    """Not in MMC4: drops what a browser's ad blocker would block, by rules in EasyList's format.

    `list` is the path or URL of such a list; without it, the built-in short list of well-known ad servers (`ads.txt`)
    is used. The image's URL is judged as an image that its page loads. The target of the link around it is judged as a
    request of another kind, to which rules for images alone don't apply. Rules that hide elements by their look, and
    lines that the engine (Brave's) can't read, have no effect, as in browsers.
    """

    list: str | None = None

    stricter = {"list": Stricter.SAME}

    def load(self, read: Callable[[str], bytes], /) -> "LoadedAds":
        """Read the list; raises ValueError if it has no rule for URLs."""
        content = read(self.list) if self.list else (files("filters") / _BUILT_IN).read_bytes()
        text = content.decode("utf-8", "replace")
        rules = FilterSet(debug=False)
        rules.add_filter_list(text)
        engine = Engine(filter_set=rules, optimize=False)
        if not any(engine.filter_exists(line.strip()) for line in text.splitlines() if _could_be_rule(line)):
            raise ValueError(f"{self.list}: contains no rule for URLs in EasyList's format, such as ||ads.example^")
        return LoadedAds(engine)


class LoadedAds(LinkFilter):
    """The filter with its rules in Brave's engine."""

    reason = Reason.AD

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def decide(self, link: ImageLink, page_url: str = "", /) -> str | None:
        """Judge the URL of the image, then the target of the link around it."""
        page = _plain(page_url)
        if self._blocks(link.url, page, "image") or (link.leads_to and self._blocks(link.leads_to, page, "other")):
            return self.reason
        return None

    def _blocks(self, url: str, page: str, kind: str) -> bool:
        return self._engine.check_network_urls(_plain(url), page, kind).matched


def _could_be_rule(line: str) -> bool:
    return _NOT_A_RULE.match(line.strip()) is None and _COSMETIC.search(line) is None


def _plain(url: str) -> str:
    """Return the URL with its host in normal form, because the engine compares letter by letter; "" if not a URL.

    It is also "" if the host's name is too long to exist: the engine would look at each of its ends.
    """
    if _PLAIN(url):
        return url
    parts = split(url)
    if parts is None or not parts.hostname or len(parts.hostname) > MAX_NAME:
        return ""
    plain = parts._replace(netloc=host_and_port(parts), fragment="").geturl()
    return plain.encode("utf-8", "replace").decode("utf-8")
