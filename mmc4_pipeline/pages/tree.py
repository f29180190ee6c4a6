"""Parses HTML pages, those included that would take minutes.

The standard's tree construction looks up through all open elements for each that begins: 100,000 nested `div`, half a
megabyte, take selectolax 1.0 half a minute. Browsers stop nesting at 512. Each attribute of a tag is compared with all
before it: 20,000 of them take more than a second.
"""

import re

from selectolax.lexbor import LexborHTMLParser

MAX_TAGS = 20_000  # nested in each other a second's work; of 60 real pages the largest has a quarter of it

MAX_ATTRIBUTES = 300  # of a tag: parsers compare each with all before it
_LONG = 8192  # characters: of a tag that is shorter the attributes are few enough
_ATTRIBUTE = r"""[\s/]++[^\s/>=]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>"']*+))?+"""
_ENDLESS_TAG = re.compile(rf"<[a-zA-Z][^\s/>]*+(?:{_ATTRIBUTE}){{{MAX_ATTRIBUTES + 1}}}")
_RAW = "iframe|noembed|noframes|script|style|textarea|title|xmp"  # what holds text and no tags
_PART = re.compile(rf"<!--.*?(?:-->|\Z)|<({_RAW})\b.*?(?:</\1|\Z)|</?[a-z][^>]*>?", re.IGNORECASE | re.DOTALL)
_KEPT = re.compile(rf"<!--|</?(?:{_RAW}|base|ima?ge?|noscript|picture|plaintext|source|svg|template)\b", re.IGNORECASE)


def has_endless_tag(text: str) -> bool:
    """Tell whether a tag has more attributes than any real one."""
    return _ENDLESS_TAG.search(text) is not None


def parse_html(text: str) -> LexborHTMLParser:
    """Parse a page, without tags of too many attributes; one of too many tags without those that links don't need."""
    pieces = text.split("<")
    if any(len(piece) > _LONG and has_endless_tag(f"<{piece}") for piece in pieces):
        text = "<".join(piece for piece in pieces if not has_endless_tag(f"<{piece}"))
    if text.count("<") > MAX_TAGS:
        text = _PART.sub(lambda part: part.group() if _KEPT.match(part.group()) else "", text)
    return LexborHTMLParser(text)
