"""Which of a page's images are part of its main content, as trafilatura sees it."""

import logging
import re

from mmc4_pipeline.pages.tree import MAX_TAGS, parse_html

# What trafilatura is given: its time grows with the square of some of these. Real pages have a tenth of it.
MAX_CHARACTERS = 2_000_000

_MARKER = "https://image/{}.jpg"
_MARKED = re.compile(r"https://image/([0-9]+)\.jpg")

logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # it warns of every page that has no main content


def main_images(html: str) -> frozenset[int] | None:
    """Give the images in a page's main content: `img` elements in page order, from 0.

    None where the page is too much to ask of.

    Every image is given an address of its own first, so that those that come back are known whatever trafilatura makes
    of their links; it drops those that don't end in an image's extension, for one.
    """
    if _too_much(html):
        return None
    marked = _marked(html)
    if _too_much(marked):  # the standard's repairs can make a page many times as long
        return None
    from trafilatura import bare_extraction
    from trafilatura.settings import Document

    try:
        document = bare_extraction(marked, include_images=True, include_comments=False)
    except Exception:  # noqa: BLE001 - lxml and its users raise what they like on pages that nobody has seen before
        return None
    if not isinstance(document, Document):
        return frozenset()
    sources = (graphic.get("src") or "" for graphic in document.body.iter("graphic"))
    return frozenset(int(found.group(1)) for source in sources if (found := _MARKED.fullmatch(source)))


def _too_much(html: str) -> bool:
    return len(html) > MAX_CHARACTERS or html.count("<") > MAX_TAGS


def _marked(html: str) -> str:
    """Give the page with each image's place for its address, those in `noscript` moved out: trafilatura drops it."""
    tree = parse_html(html)
    for ordinal, image in enumerate(tree.css("img")):
        for name in ("data-src", "alt", "title"):
            if name in image.attributes:
                del image.attrs[name]
        image.attrs["src"] = _MARKER.format(ordinal)
    for noscript in tree.css("noscript:has(img)"):
        noscript.unwrap()
    return tree.html or ""
