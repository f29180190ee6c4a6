"""Find the images in a page's main content, according to trafilatura."""

import logging
import re

from mmc4_pipeline.pages.tree import MAX_TAGS, parse_html

# Limit of what trafilatura gets: its time is quadratic in some pages' length. Real pages have a tenth of it.
MAX_CHARACTERS = 2_000_000

_MARKER = "https://image/{}.jpg"
_MARKED = re.compile(r"https://image/([0-9]+)\.jpg")

logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # it logs a warning for every page without main content


def main_images(html: str) -> frozenset[int] | None:
    """Return the images in a page's main content, as numbers of `img` elements in page order from 0.

    Returns None if the page is too large for trafilatura, or if trafilatura fails.

    Every image first gets a unique address, by which it is recognised in trafilatura's result. Trafilatura changes
    links, and it drops images whose link does not end in an image's extension.
    """
    if _too_large(html):
        return None
    marked = _with_unique_addresses(html)
    if _too_large(marked):  # parsing repairs the page, which can make it many times as long
        return None
    from trafilatura import bare_extraction
    from trafilatura.settings import Document

    try:
        document = bare_extraction(marked, include_images=True, include_comments=False)
    except Exception:  # noqa: BLE001 - lxml and trafilatura may raise anything for an unusual page
        return None
    if not isinstance(document, Document):
        return frozenset()
    sources = (graphic.get("src") or "" for graphic in document.body.iter("graphic"))
    return frozenset(int(found.group(1)) for source in sources if (found := _MARKED.fullmatch(source)))


def _too_large(html: str) -> bool:
    return len(html) > MAX_CHARACTERS or html.count("<") > MAX_TAGS


def _with_unique_addresses(html: str) -> str:
    """Return the page with each image's number as its address, and with images moved out of `noscript`.

    Trafilatura drops the content of `noscript`.
    """
    tree = parse_html(html)
    for ordinal, image in enumerate(tree.css("img")):
        for name in ("data-src", "alt", "title"):
            if name in image.attributes:
                del image.attrs[name]
        image.attrs["src"] = _MARKER.format(ordinal)
    for noscript in tree.css("noscript:has(img)"):
        noscript.unwrap()
    return tree.html or ""
