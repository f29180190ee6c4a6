"""The text of a page's main content, by trafilatura: without navigation, comments and boilerplate.

trafilatura has no limits of its own, and both its parser and its rules take quadratic time on pages made for that: a
page is bounded in what they depend on before they see it. Bounds and not a clock, so that every run decides the same.
"""

import logging

from trafilatura import extract, load_html

from mmc4_pipeline.pages.tree import MAX_ATTRIBUTES, has_endless_tag

MAX_CHARACTERS = 1 << 20  # of a page; what follows is not read. Common Crawl of C4's time cut pages at 1 MiB
MAX_ELEMENTS = 20_000  # of a page: at most some seconds, for a table that is all cells

logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # it reports each page without text as an error


class UnreadablePageError(Exception):
    """A page that is beyond the bounds, or that trafilatura stops at; the message says which."""


def main_text(html_text: str, url: str) -> str:
    """Give the text, a line for each paragraph, heading or list item; empty for a page without main content.

    Raises UnreadablePageError for a page that would hold up or end a worker.
    """
    bounded = html_text[:MAX_CHARACTERS]
    if has_endless_tag(bounded):
        message = f"a tag of the page has more than {MAX_ATTRIBUTES} attributes"
        raise UnreadablePageError(message)
    try:
        tree = load_html(bounded)
        elements = 0 if tree is None else sum(1 for _ in tree.iter())
        # Without its second and third opinions ("fast"), which cost half as much again and change next to nothing.
        text = extract(tree, url=url, fast=True, include_comments=False) if 0 < elements <= MAX_ELEMENTS else ""
    except Exception as error:  # the web finds every fault of a parser in time: it costs the page, not the run
        message = f"trafilatura stopped at the page ({type(error).__name__}: {error})"
        raise UnreadablePageError(message) from error
    if elements > MAX_ELEMENTS:
        message = f"the page has more than {MAX_ELEMENTS} elements"
        raise UnreadablePageError(message)
    return text or ""
