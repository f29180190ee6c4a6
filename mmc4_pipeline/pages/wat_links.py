"""Image links of a WAT record: Common Crawl lists the `src` of every `img`."""

import html
import re
from dataclasses import dataclass
from typing import Any, Self

from mmc4_pipeline.pages.links import pixels, resolve
from schemas.page import ImageLink

_REFERENCE = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")

# Most images: the URL where it is absolute and needs no resolving, else (empty there) the link as it stands; alt text;
# and nothing.
PlainImage = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class WatImages:
    """The images that a WAT record's HTML-Metadata lists, as PlainImage or as the JSON has them, and its base URL."""

    images: list[PlainImage | dict[str, Any]]
    base: object = None

    @classmethod
    def of(cls, html_metadata: dict[str, Any]) -> Self:
        """Take the links of path "IMG@/src" out of an HTML-Metadata."""
        head, links = html_metadata.get("Head"), html_metadata.get("Links")
        images: list[PlainImage | dict[str, Any]] = [
            link
            for link in (links if isinstance(links, list) else ())
            if isinstance(link, dict) and link.get("path") == "IMG@/src"
        ]
        return cls(images, head.get("Base") if isinstance(head, dict) else None)


def links_of_wat(found: WatImages, page_url: str) -> list[ImageLink]:
    """Give the image links of a page from what its WAT record lists."""
    base = resolve(page_url, _unescape(found.base)) or page_url if found.base else page_url
    links: list[ImageLink] = []
    for image in found.images:
        width = height = None
        if isinstance(image, tuple):
            url, link, alt, _ = image
        else:
            url, link, alt = "", str(image.get("url") or ""), image.get("alt") or ""
            width, height = pixels(image.get("width")), pixels(image.get("height"))
        resolved = url or resolve(base, _unescape(link))
        if resolved:
            links.append(ImageLink(len(links), resolved, _one_line(alt) if alt else "", width, height))
    return links


def _one_line(alt: object) -> str:
    return " ".join(_unescape(alt).split())


def _unescape(text: object) -> str:
    """Resolve character references that end in a semicolon.

    WAT files of 2019 hold attributes as they stand in the HTML (commoncrawl/ia-web-commons issue 14), later ones
    resolved: there "&copy=1" is part of a URL, and only a reference with its semicolon can still be one.
    """
    if not isinstance(text, str):
        return str(text or "")
    if "&" not in text:
        return text
    if text.count("&") == text.count("&amp;"):  # nearly always
        return text.replace("&amp;", "&")
    return _REFERENCE.sub(lambda match: html.unescape(match.group()), text)
