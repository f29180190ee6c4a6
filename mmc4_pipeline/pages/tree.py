"""Parses HTML pages, those included that would take minutes.

The standard's tree construction looks up through all open elements for each that begins: 100,000 nested `div`, half a
megabyte, take selectolax 1.0 half a minute. Browsers stop nesting at 512.
"""

import re

from selectolax.lexbor import LexborHTMLParser

MAX_TAGS = 20_000  # nested in each other a second's work; of 60 real pages the largest has a quarter of it

_RAW = "iframe|noembed|noframes|script|style|textarea|title|xmp"  # what holds text and no tags
_PART = re.compile(rf"<!--.*?(?:-->|\Z)|<({_RAW})\b.*?(?:</\1|\Z)|</?[a-z][^>]*>?", re.IGNORECASE | re.DOTALL)
_KEPT = re.compile(rf"<!--|</?(?:{_RAW}|base|ima?ge?|noscript|picture|plaintext|source|svg|template)\b", re.IGNORECASE)


def parse_html(text: str) -> LexborHTMLParser:
    """Parse a page; one of too many tags without those that image links don't need."""
    if text.count("<") > MAX_TAGS:
        text = _PART.sub(lambda part: part.group() if _KEPT.match(part.group()) else "", text)
    return LexborHTMLParser(text)
