"""Image links of a page, from its HTML or from its WAT record: `img src`, resolved against the page's base."""

import html
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urljoin, urlsplit

from selectolax.lexbor import LexborHTMLParser

from schemas.page import ImageLink

_REFERENCE = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")
_SPACE = str.maketrans("", "", "\t\r\n")  # dropped from inside URLs, as browsers do (WHATWG URL)


def links_of_html(text: str, page_url: str) -> list[ImageLink]:
    """Give the image links of an HTML page in page order; links that are not http(s), data: for one, are none."""
    tree = LexborHTMLParser(text)
    base_tag = tree.css_first("base[href]")
    base = resolve(page_url, base_tag.attributes.get("href") if base_tag else None) or page_url
    found = ((tag.attributes.get("src"), tag.attributes) for tag in tree.css("img[src]"))
    return _links(base, found)


def links_of_wat(html_metadata: dict[str, Any], page_url: str) -> list[ImageLink]:
    """Give the image links of a WAT record's HTML-Metadata: the links of path "IMG@/src"."""
    head = html_metadata.get("Head")
    base = resolve(page_url, _unescape(head.get("Base")) if isinstance(head, dict) else None) or page_url
    links = html_metadata.get("Links")
    records = links if isinstance(links, list) else []
    images = [link for link in records if isinstance(link, dict) and link.get("path") == "IMG@/src"]
    return _links(base, ((_unescape(link.get("url")), {**link, "alt": _unescape(link.get("alt"))}) for link in images))


def _unescape(text: object) -> str:
    """Resolve character references that end in a semicolon.

    WAT files of 2019 hold attributes as they stand in the HTML (commoncrawl/ia-web-commons issue 14), later ones
    resolved: there "&copy=1" is part of a URL, and only a reference with its semicolon can still be one.
    """
    return _REFERENCE.sub(lambda match: html.unescape(match.group()), str(text or ""))


def _links(base: str, found: Iterable[tuple[str | None, dict[str, Any]]]) -> list[ImageLink]:
    links: list[ImageLink] = []
    for source, attributes in found:
        url = resolve(base, source)
        if url is not None:
            links.append(
                ImageLink(
                    position=len(links),
                    url=url,
                    alt=" ".join((attributes.get("alt") or "").split()),
                    declared_width=_pixels(attributes.get("width")),
                    declared_height=_pixels(attributes.get("height")),
                )
            )
    return links


def resolve(base: str, link: str | None) -> str | None:
    """Resolve a link as a browser does; None for one that is empty, not http(s) or no URL at all."""
    cleaned = (link or "").strip().translate(_SPACE)
    if not cleaned:
        return None
    try:
        url = urljoin(base, cleaned)
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.netloc else None


def _pixels(value: object) -> int | None:
    """Read a size attribute: "120" and "120px" are pixels, "50%" is none. JSON may hold it as a number."""
    digits = str(value or "").strip().lower().removesuffix("px").strip()
    return int(digits) if digits.isdecimal() and len(digits) < 7 else None  # noqa: PLR2004 - a page is no million pixels
