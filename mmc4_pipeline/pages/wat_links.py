"""Make image links from a WAT record, in which Common Crawl lists the `src` of every `img`."""

import html
import re
from typing import Any, Self

import msgspec

from filters.web_url import is_plain
from mmc4_pipeline.pages.links import PageUrls, pixels, resolve
from schemas.page import ImageLink

_REFERENCE = re.compile(r"&(?:(#)([0-9]++)|(#[xX])([0-9a-fA-F]++)|\w++);")
_MAX_DIGITS = 7  # of a character's number


class WatImage(msgspec.Struct, gc=False):  # not a dataclass: billions are made
    """A link of path "IMG@/src" as a WAT record lists it; empty or None for an attribute that the tag lacks."""

    path: str = ""
    url: str = ""
    alt: str = ""
    width: str | int | None = None
    height: str | int | None = None


class WatHead(msgspec.Struct):
    """The part of "Head" in a WAT record that is needed: the `href` of the page's `base`."""

    Base: str = ""


class WatImages(msgspec.Struct, frozen=True, gc=False):
    """The images that a WAT record's HTML-Metadata lists, its base URL, and what the page declares about its use."""

    images: list[WatImage]
    base: str = ""
    declarations: list[str] = msgspec.field(default_factory=list)

    @classmethod
    def of(cls, html_metadata: dict[str, Any]) -> Self:
        """Extract the links of path "IMG@/src" from HTML-Metadata of any form."""
        head, links = html_metadata.get("Head"), html_metadata.get("Links")
        images = [
            WatImage("", _text(link.get("url")), _text(link.get("alt")), link.get("width"), link.get("height"))
            for link in (links if isinstance(links, list) else ())
            if isinstance(link, dict) and link.get("path") == "IMG@/src"
        ]
        return cls(images, _text(head.get("Base")) if isinstance(head, dict) else "")


def _text(value: object) -> str:
    return str(value or "")


def links_of_wat(found: WatImages, page_url: str) -> list[ImageLink]:
    """Return a page's image links from those that its WAT record lists."""
    base = resolve(page_url, _unescape(found.base)) or page_url if found.base else page_url
    urls = PageUrls(base)
    links: list[ImageLink] = []
    for image, alt in zip(found.images, _texts([image.alt for image in found.images]), strict=True):
        link = _unescape(image.url) if "&" in image.url else image.url
        url = link if is_plain(link) else urls.resolve(link)
        if not url:
            continue
        has_size = image.width or image.height
        width, height = (pixels(image.width), pixels(image.height)) if has_size else (None, None)
        links.append(ImageLink(len(links), url, alt, width, height))
        if urls.reason:
            links[-1].reason = urls.reason
    return links


def _texts(alts: list[str]) -> list[str]:
    """Return `alt` attributes with their references resolved and single spaces between words, as nearly all have."""
    together = "|".join(["", *alts, ""])
    is_usual = together.isprintable() and "&" not in together and "  " not in together
    if is_usual and " |" not in together and "| " not in together:
        return alts
    return [" ".join(_unescape(alt).split()) for alt in alts]


def _unescape(text: str) -> str:
    """Resolve character references that end in a semicolon.

    WAT files of 2019 have attributes as in the HTML (commoncrawl/ia-web-commons issue 14), later files have them
    resolved. There "&copy=1" is part of a URL, and only something with a semicolon can still be a reference.
    """
    if "&" not in text:
        return text
    if text.count("&") == text.count("&amp;"):  # nearly always
        return text.replace("&amp;", "&")
    return _REFERENCE.sub(_character, text)


def _character(reference: re.Match[str]) -> str:
    start, digits = reference[1] or reference[3], reference[2] or reference[4]
    if not start:
        return html.unescape(reference.group())
    digits = digits.lstrip("0") or "0"  # Python refuses to read thousands of digits
    return html.unescape(f"&{start}{digits};") if len(digits) <= _MAX_DIGITS else "\ufffd"
