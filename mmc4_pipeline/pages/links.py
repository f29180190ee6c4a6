"""What image links from HTML and from WAT records have in common: URLs resolved as browsers do, sizes in pixels."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin, urlsplit

from schemas.page import ImageLink

_SPACE = str.maketrans("", "", "\t\r\n")  # dropped from inside URLs, as browsers do (WHATWG URL)
# Links that urljoin gives back as they are, or only sets behind the base's scheme, origin or folder. Most links are of
# these, and to take them apart and put them together again would be most of the work on a link.
_HOST = r"[A-Za-z0-9.-]++(?::[0-9]++)?"
_SAFE = r"""!"$-:<-~"""  # visible ASCII but for # and ;
_SEGMENT = r"""!"$-.0-9<->@-~"""  # the same but for / : and ?
_NAME = rf"(?!\.)[{_SEGMENT}]++"
_URL = rf"https?://{_HOST}/[{_SAFE}]*+"
_PLAIN = re.compile(rf"(?:({_URL})|(//{_HOST}/[{_SAFE}]*+)|(/(?!/)[{_SAFE}]*+)|({_NAME}(?:[/?][{_SAFE}]*+)?))(?<!\?)")
_ABOVE = re.compile(rf"((?:\.\./)++)({_NAME}(?:[/?][{_SAFE}]*+)?)(?<!\?)")
is_plain = re.compile(rf"{_URL}(?<!\?)").fullmatch  # absolute, and no base changes it
_ABSOLUTE, _OF_SCHEME = 1, 2  # of its groups; the others are of the origin and of the folder
_BASE = re.compile(rf"(https?:)(//{_HOST})(/(?:{_NAME}/)*)(?:{_NAME})?(?:\?[{_SAFE}]+)?")


def image_links(base: str, found: Iterable[tuple[str | None, dict[str, Any]]]) -> list[ImageLink]:
    """Make image links of (URL as it stands, the tag's attributes); what is not http(s), data: for one, is none."""
    links: list[ImageLink] = []
    for source, attributes in found:
        url = resolve(base, source)
        if url is not None:
            links.append(image_link(len(links), url, attributes))
    return links


def image_link(
    position: int,
    url: str,
    attributes: dict[str, Any],
    attribute: str = "src",
    in_main_content: bool | None = None,  # noqa: FBT001 - a measurement, not a switch
    leads_to: str | None = None,
) -> ImageLink:
    """Make the link of a tag with these attributes; `url` is absolute."""
    return ImageLink(
        position=position,
        url=url,
        alt=" ".join((attributes.get("alt") or "").split()),
        declared_width=pixels(attributes.get("width")),
        declared_height=pixels(attributes.get("height")),
        attribute=attribute,
        in_main_content=in_main_content,
        leads_to=leads_to,
    )


def resolve(base: str, link: str | None) -> str | None:
    """Resolve a link as a browser does; None for one that is empty, not http(s) or no URL at all."""
    if not link:
        return None
    found = _PLAIN.fullmatch(link)
    if not found:
        return None if link.startswith("data:") else _resolve_above(base, link) or _resolve(base, link)
    kind = found.lastindex or 0  # one of the groups it has
    if kind == _ABSOLUTE:
        return link
    start = _starts(base)
    if not start or (kind != _OF_SCHEME and ("//" in link or "/." in link)):  # urljoin drops empty folders and dots
        return _resolve(base, link)
    return start[kind - _OF_SCHEME] + link


def _resolve_above(base: str, link: str) -> str | None:
    """Resolve a link that starts in a folder above the base's; None for one that is not plain."""
    found, start = _ABOVE.fullmatch(link), _starts(base)
    if not found or not start or "//" in link or "/." in found[2]:
        return None
    folders = start[-1].split("/")
    left = max(len(folders) - 1 - len(found[1]) // len("../"), len(("https:", "", "a.example")))
    return "/".join([*folders[:left], found[2]])


def _resolve(base: str, link: str) -> str | None:
    cleaned = link.strip().translate(_SPACE)
    if not cleaned:
        return None
    try:
        url = urljoin(base, cleaned)
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.netloc else None


@lru_cache(maxsize=16)  # a page's links follow one another
def _starts(base: str) -> tuple[str, str, str] | None:
    """Give what a plain base sets before links of its scheme, origin and folder: https:, https://a.b, https://a.b/c/."""
    found = _BASE.fullmatch(base)
    return (found[1], found[1] + found[2], found[1] + found[2] + found[3]) if found else None


def pixels(value: object) -> int | None:
    """Read a size attribute: "120" and "120px" are pixels, "50%" is none. JSON may hold it as a number."""
    if value is None:
        return None
    digits = str(value).strip().lower().removesuffix("px").strip()
    return int(digits) if digits.isdecimal() and len(digits) < 7 else None
