"""Image links of a WAT record: Common Crawl lists the `src` of every `img`."""

import html
import re
from typing import Any

from mmc4_pipeline.pages.links import pixels, resolve
from schemas.page import ImageLink

_REFERENCE = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")


def links_of_wat(html_metadata: dict[str, Any], page_url: str) -> list[ImageLink]:
    """Give the image links of a WAT record's HTML-Metadata: the links of path "IMG@/src"."""
    head = html_metadata.get("Head")
    base = resolve(page_url, _unescape(head.get("Base")) if isinstance(head, dict) else None) or page_url
    found = html_metadata.get("Links")
    links: list[ImageLink] = []
    for link in found if isinstance(found, list) else ():
        if isinstance(link, dict) and link.get("path") == "IMG@/src":
            url = resolve(base, _unescape(link.get("url")))
            if url is not None:
                alt = link.get("alt")
                alt = " ".join(_unescape(alt).split()) if alt else ""
                links.append(ImageLink(len(links), url, alt, pixels(link.get("width")), pixels(link.get("height"))))
    return links


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
