"""Extract the text of a page's main content with trafilatura: without navigation, comments and boilerplate.

Trafilatura has no limits, and its parser and its rules take quadratic time on pages made for that purpose. So the sizes
on which their time depends are limited first. Sizes and not time, so that every run decides in the same way.
"""

import logging
import re
from typing import Any

from trafilatura import bare_extraction, load_html
from trafilatura.settings import Document
from trafilatura.utils import normalize_unicode
from trafilatura.xml import xmltotxt

from mmc4_pipeline.pages.tree import MAX_ATTRIBUTES, has_endless_tag

MAX_CHARACTERS = 1 << 20  # of a page; the rest is not read. Common Crawl truncated pages at 1 MiB when C4 was made
MAX_ELEMENTS = 20_000  # of a page; a table that is all cells then takes some seconds
# Putting combining marks in order takes quadratic time: half a minute for 80,000 in a row.
_NORMALIZED_AT_ONCE = re.compile(r"[\0-\x7f]?[^\0-\x7f]{1,256}")

logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # it logs an error for each page without text


class UnreadablePageError(Exception):
    """A page that exceeds a limit, or on which trafilatura fails; the message has the details."""


def main_text(html_text: str, url: str) -> str:
    """Return the text, one line per paragraph, heading or list item; empty for a page without main content.

    Raises UnreadablePageError for a page that would block or crash a worker.
    """
    bounded = html_text[:MAX_CHARACTERS]
    if has_endless_tag(bounded):
        raise UnreadablePageError(f"a tag of the page has more than {MAX_ATTRIBUTES} attributes")
    try:
        tree = load_html(bounded)
        elements = 0 if tree is None else sum(1 for _ in tree.iter())
        # "fast" skips trafilatura's fallback methods, which take half as long again and change almost nothing.
        found = (
            bare_extraction(tree, url=url, fast=True, include_comments=False) if 0 < elements <= MAX_ELEMENTS else None
        )
        text = _as_text(found.body) if isinstance(found, Document) else ""
    except Exception as error:  # some page triggers every bug of a parser: it must cost the page, not the run
        raise UnreadablePageError(f"trafilatura failed on the page ({type(error).__name__}: {error})") from error
    if elements > MAX_ELEMENTS:
        raise UnreadablePageError(f"the page has more than {MAX_ELEMENTS} elements")
    return text


def _as_text(body: Any) -> str:
    """Return the text of trafilatura's result, with the cells of tables as paragraphs of their own.

    As trafilatura itself writes them, a row is one line ("| cell | cell |") in which C4's rules find no sentence. Pages
    laid out with tables, as old sites are, would lose all their text.
    """
    for row in body.iter("row"):
        row.tag = "div"
    for cell in body.iter("cell"):
        cell.tag = "p"
    text = xmltotxt(body, include_formatting=False)
    return _NORMALIZED_AT_ONCE.sub(lambda found: normalize_unicode(found[0]), text)
