"""Image links of a WAT record: Common Crawl lists the `src` of every `img`."""

import html
import re
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from mmc4_pipeline.pages.links import is_plain, pixels, resolve
from schemas.page import ImageLink

_REFERENCE = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")


class WatImage(msgspec.Struct, gc=False):  # no dataclass: it is made by the billion
    """A link of path "IMG@/src" as a WAT record lists it, empty or None where the tag lacks an attribute."""

    path: str = ""
    url: str = ""
    alt: str = ""
    width: str | int | None = None
    height: str | int | None = None


class WatHead(msgspec.Struct):
    """What is wanted of the "Head" in a WAT record: the `href` of the page's `base`."""

    Base: str = ""


@dataclass(frozen=True, slots=True)
class WatImages:
    """The images that a WAT record's HTML-Metadata lists, and its base URL."""

    images: list[WatImage]
    base: str = ""

    @classmethod
    def of(cls, html_metadata: dict[str, Any]) -> Self:
        """Take the links of path "IMG@/src" out of an HTML-Metadata, whatever it holds."""
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
    """Give the image links of a page from what its WAT record lists."""
    base = resolve(page_url, _unescape(found.base)) or page_url if found.base else page_url
    links: list[ImageLink] = []
    for image in found.images:
        link = image.url
        url = link if is_plain(link) else resolve(base, _unescape(link))
        if url:
            alt = image.alt and " ".join(_unescape(image.alt).split())
            width = pixels(image.width) if image.width else None
            height = pixels(image.height) if image.height else None
            links.append(ImageLink(len(links), url, alt, width, height))
    return links


def _unescape(text: str) -> str:
    """Resolve character references that end in a semicolon.

    WAT files of 2019 hold attributes as they stand in the HTML (commoncrawl/ia-web-commons issue 14), later ones
    resolved: there "&copy=1" is part of a URL, and only a reference with its semicolon can still be one.
    """
    if "&" not in text:
        return text
    if text.count("&") == text.count("&amp;"):  # nearly always
        return text.replace("&amp;", "&")
    return _REFERENCE.sub(lambda match: html.unescape(match.group()), text)
