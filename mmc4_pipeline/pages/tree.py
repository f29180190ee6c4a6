"""Parse HTML pages in bounded time, including pages that would otherwise take minutes.

The standard's tree construction searches all open elements whenever an element begins: 100,000 nested `div`, half a
megabyte, take selectolax 1.0 half a minute. Browsers limit nesting to 512. Each attribute of a tag is compared with all
attributes before it: 20,000 of them take more than a second.
"""

import re

from selectolax.lexbor import LexborHTMLParser

MAX_TAGS = 20_000  # take a second if nested in each other; the largest of 60 real pages has a quarter of it

MAX_ATTRIBUTES = 300  # per tag: parsers compare each with all before it
# A shorter tag does not have too many attributes.
_LONG_TAG = re.compile(r"<[^<]{8192,}+")
_ATTRIBUTE = r"""[\s/]++[^\s/>=]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>"']*+))?+"""
_ENDLESS_TAG = re.compile(rf"<[a-zA-Z][^\s/><]*+(?:{_ATTRIBUTE}){{{MAX_ATTRIBUTES + 1}}}")
_RAW = "iframe|noembed|noframes|script|style|textarea|title|xmp"  # elements that contain text and no tags
_PART = re.compile(rf"<!--.*?(?:-->|\Z)|<({_RAW})\b.*?(?:</\1|\Z)|</?[a-z][^>]*>?", re.IGNORECASE | re.DOTALL)
_KEPT = re.compile(
    rf"<!--|</?(?:{_RAW}|base|ima?ge?|meta|noscript|picture|plaintext|source|svg|template)\b", re.IGNORECASE
)


def has_endless_tag(text: str) -> bool:
    """Return whether some tag has more attributes than any real one."""
    return _ENDLESS_TAG.search(text) is not None


def parse_html(text: str) -> LexborHTMLParser:
    """Parse a page without tags that have too many attributes; of too many tags, keep only those that links need."""
    if any(_ENDLESS_TAG.match(text, *tag.span()) for tag in _LONG_TAG.finditer(text)):
        text = "<".join(piece for piece in text.split("<") if not has_endless_tag(f"<{piece}"))
    if text.count("<") > MAX_TAGS:
        text = _PART.sub(lambda part: part.group() if _KEPT.match(part.group()) else "", text)
    return LexborHTMLParser(text)
