"""Image links of a WAT record: Common Crawl lists the `src` of every `img`."""

import html
import re
from typing import Any

from mmc4_pipeline.pages.links import image_links, resolve
from schemas.page import ImageLink

_REFERENCE = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")


def links_of_wat(html_metadata: dict[str, Any], page_url: str) -> list[ImageLink]:
    """Give the image links of a WAT record's HTML-Metadata: the links of path "IMG@/src"."""
    head = html_metadata.get("Head")
    base = resolve(page_url, _unescape(head.get("Base")) if isinstance(head, dict) else None) or page_url
    links = html_metadata.get("Links")
    records = links if isinstance(links, list) else []
    images = [link for link in records if isinstance(link, dict) and link.get("path") == "IMG@/src"]
    return image_links(
        base, ((_unescape(link.get("url")), {**link, "alt": _unescape(link.get("alt"))}) for link in images)
    )


def _unescape(text: object) -> str:
    """Resolve character references that end in a semicolon.

    WAT files of 2019 hold attributes as they stand in the HTML (commoncrawl/ia-web-commons issue 14), later ones
    resolved: there "&copy=1" is part of a URL, and only a reference with its semicolon can still be one.
    """
    return _REFERENCE.sub(lambda match: html.unescape(match.group()), str(text or ""))
