"""Resolve URLs as browsers do and read sizes in pixels, for image links from HTML and from WAT records."""

import re
from typing import Any
from urllib.parse import urljoin, urlsplit

from filters.web_url import HOST, NO_DOTS, PATH, QUERY, SEGMENT, is_plain, web_url
from schemas.page import ImageLink
from schemas.reasons import Reason

# Characters of all URLs of a page together, once they are resolved. A page of 0.4 MB with a long `base` and many short
# links would otherwise take gigabytes. Real pages have a hundredth of it.
MAX_URL_CHARACTERS = 16 << 20

_SPACE = str.maketrans("", "", "\t\r\n")  # dropped from inside URLs, as browsers do (WHATWG URL)
# Links that are in normal form already, or become so by appending them to the base's scheme, origin or folder. Most
# links are like this, and parsing them would be most of the work on a link.
_FIRST = SEGMENT.replace(":", "")  # of a link's first name: "a:b" has a scheme
_NAME = rf"{NO_DOTS}[{_FIRST}]++(?:/{NO_DOTS}[{SEGMENT}]*+)*+{QUERY}"
_plain = re.compile(rf"(https?://{HOST}{PATH})|(//{HOST}{PATH})|((?!//){PATH})|({_NAME})").fullmatch
_ABOVE = re.compile(rf"((?:\.\./)++)({_NAME})")
_ABSOLUTE, _OF_SCHEME = 1, 2  # groups of _plain; the others are relative to the origin and to the folder
_Starts = tuple[str, str, str]


def image_link(
    position: int,
    url: str,
    attributes: dict[str, Any],
    attribute: str = "src",
    in_main_content: bool | None = None,  # noqa: FBT001 - a measurement, not a switch
    leads_to: str | None = None,
    reason: str | None = None,
) -> ImageLink:
    """Make the link of a tag with these attributes."""
    return ImageLink(
        position=position,
        url=url,
        alt=" ".join((attributes.get("alt") or "").split()),
        declared_width=pixels(attributes.get("width")),
        declared_height=pixels(attributes.get("height")),
        attribute=attribute,
        in_main_content=in_main_content,
        leads_to=leads_to,
        reason=reason,
    )


class PageUrls:
    """Resolves the links of one page against its base, up to MAX_URL_CHARACTERS in all."""

    __slots__ = ("_left", "_starts", "base", "reason")

    def __init__(self, base: str) -> None:
        self.base = base
        self.reason: str | None = None  # why the links from here on are dropped, once the limit is exceeded
        self._left = MAX_URL_CHARACTERS
        self._starts = _starts(base)

    def resolve(self, link: str | None) -> str | None:
        """Resolve a link; beyond the limit, return it as the page has it, unless it is a data: URL."""
        if not link or link.startswith("data:"):
            return None
        if self.reason:
            return None if link.lstrip()[:5].lower() == "data:" else link
        url = _resolved(self.base, self._starts, link)
        if url:
            self._left -= len(url)
            if self._left < 0:
                self.reason = Reason.TOO_MANY_URLS.value
        return url


def resolve(base: str, link: str | None) -> str | None:
    """Resolve a link in the same way as a browser; None for a link that is empty, not http(s) or not a URL."""
    return _resolved(base, _starts(base), link)


def _resolved(base: str, starts: _Starts | None, link: str | None) -> str | None:
    if not link:
        return None
    found = _plain(link)
    if not found:
        return _resolve_above(starts, link) or _resolve(base, link)
    kind = found.lastindex or 0  # the group that matched
    if kind == _ABSOLUTE:
        return link
    return starts[kind - _OF_SCHEME] + link if starts else _resolve(base, link)


def _resolve_above(starts: _Starts | None, link: str) -> str | None:
    """Resolve a link that starts in a folder above the base's; None for a link that is not plain."""
    found = _ABOVE.fullmatch(link)
    if not found or not starts:
        return None
    folders = starts[-1].split("/")
    kept = max(len(folders) - 1 - len(found[1]) // len("../"), len(("https:", "", "a.example")))
    return "/".join([*folders[:kept], found[2]])


def _resolve(base: str, link: str) -> str | None:
    cleaned = link.strip().translate(_SPACE)
    if not cleaned:
        return None
    url = web_url(cleaned, base) or _resolve_invalid(base, cleaned)
    return url[:-1] if url and url.find("#") == len(url) - 1 else url  # "#" alone leads to the same place


def _resolve_invalid(base: str, link: str) -> str | None:
    """Return an http(s) URL that browsers can't read, such as https://:0; it is a link too, and a reason to drop it."""
    try:
        url = urljoin(base, link)
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.netloc and web_url(url) is None else None


def _starts(base: str) -> _Starts | None:
    """Return the prefixes of links relative to a plain base's scheme, origin, folder: https:, https://a.b, https://a.b/c/."""
    if not is_plain(base):
        return None
    scheme, _, rest = base.partition("?")[0].partition("//")
    return scheme, f"{scheme}//{rest.partition('/')[0]}", f"{scheme}//{rest.rpartition('/')[0]}/"


def pixels(value: object) -> int | None:
    """Read a size attribute, which JSON may hold as a number: "120" and "120px" are pixels, "50%" is None."""
    if value is None:
        return None
    digits = str(value).strip().lower().removesuffix("px").strip()
    return int(digits) if digits.isdecimal() and len(digits) < 7 else None
