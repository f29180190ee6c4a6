"""Extract the text of an HTML page around its images, in which a document's sentences are found later."""

from collections.abc import Sequence

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mmc4_pipeline.pages.letters import MARK, SEPARATOR, letters

# Letters and digits of a page; images after these have no place. Common Crawl truncates pages at 1 MiB.
MAX_LETTERS = 1 << 20
NOT_TEXT = ("script", "style")


def text_around(tree: LexborHTMLParser, images: Sequence[LexborNode], not_text: Sequence[LexborNode]) -> str:
    """Return the letters and digits of a page's body, with a space at the place of each of the images.

    `not_text` are all NOT_TEXT elements of the page, in its order. What `noscript` contains is text, as for Common
    Crawl's texts, from which C4 was made. The tree is changed.
    """
    for image in images:
        image.insert_before(MARK)
    for node in reversed(not_text):  # the inner ones first: they must not be used once the outer ones are gone
        node.decompose()
    around = letters(tree.body.text()) if tree.body else ""
    # If an image is in none of the text, the places of all are unknown.
    return around[:MAX_LETTERS] if around.count(SEPARATOR) == len(images) else ""
