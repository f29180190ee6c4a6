"""Takes the few values that are wanted out of a WAT record's JSON, where possible without parsing all of it.

A WAT record lists every link, script and header of a page. Its images are a tenth of that, and to parse the rest would
take most of the time that a WAT file takes. So images are looked for in the bytes and only what is around them is
read. That is safe because JSON puts a backslash before a quote within a string: `{"path":"IMG@/src"` with plain quotes
stands outside of strings in whatever is JSON at all. Wherever a record is not written as Common Crawl writes it, all of
it is parsed instead.
"""

import re
from typing import Any

import orjson

from mmc4_pipeline.pages.wat_links import PlainImage, WatImages

_OFFSET = re.compile(rb'\{"Container": ?\{[^{}]*"Offset": ?"?(\d+)')
_HTML = b'"HTML-Metadata"'
_HEAD = re.compile(rb': ?\{"Head": ?\{')
_LINKS = b'"Links":'
_ARRAY = re.compile(rb" ?\[")
_START = '{"path":"IMG@/src"'
_STRING = r'[^"\\\x00-\x1f]*+'  # one without escapes
# Most images: no base, reference or dot can change such a URL, and it is taken as it stands (ASCII but for # and ;).
_URL = r"https?://[A-Za-z0-9.-]++(?::[0-9]++)?/[!$-:<-\[\]-~]*+(?<!\?)"
# No I and no quote before it: the rarer the first character, the faster the search. All groups are empty where what
# stands before is not the start of an object, which is looked at after it for the same reason.
_IMAGE = re.compile(
    rf"""MG@/src"(?:(?:(?<=\{{"path":"IMG@/src")|(?<=\{{"path": "IMG@/src"))"""
    rf"""(?:, ?"url": ?"(?:({_URL})|({_STRING}))"(?:, ?"alt": ?"({_STRING})")?\}}|([^}}]*\}})))?"""
)


class _UnusualError(Exception):
    """The record is not written as Common Crawl does."""


def container_offset(data: bytes, start: int) -> str:
    """Give Container.Offset of the WAT record whose JSON starts there and goes on to the data's end.

    Raises ValueError where the record is no JSON.
    """
    found = _OFFSET.match(data, start)
    return found[1].decode("ascii") if found else str(_below(orjson.loads(data[start:]), "Container", "Offset"))


def html_images(data: bytes, start: int) -> WatImages | None:
    """Give the images of the HTML that the WAT record is about; None where it is about none.

    Raises ValueError where the record is no JSON.
    """
    try:
        return _images(data, start)
    except (_UnusualError, ValueError):
        keys = ("Envelope", "Payload-Metadata", "HTTP-Response-Metadata", "HTML-Metadata")
        html = _below(orjson.loads(data[start:]), *keys)
    return WatImages.of(html) if isinstance(html, dict) else None


def _below(value: Any, *keys: str) -> Any:  # noqa: ANN401 - JSON is anything
    """Give what nested JSON objects hold under the keys; None where they don't."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _images(data: bytes, start: int) -> WatImages | None:
    html = data.find(_HTML, start)
    if html < 0:
        return None
    links = data.find(_LINKS, html)
    array = _ARRAY.match(data, links + len(_LINKS))
    if links < 0 or not array or not _HEAD.match(data, html + len(_HTML)) or data.find(b'"Base"', html, links) >= 0:
        raise _UnusualError
    return WatImages(_images_of_array(data, array.end()))


def _images_of_array(data: bytes, start: int) -> list[PlainImage | dict[str, Any]]:
    """Read the objects of path IMG@/src in the array of flat objects that starts here, the record's last array."""
    end = data.rfind(b"}]", start) + 1
    if not end:
        return []
    array = data[start:end].decode()
    found = _IMAGE.findall(array)
    others = [_START + other for url, link, _, other in found if not url and not link]
    last = array[array.rfind("{") :]  # parses only if the array does end there
    *parsed, last = orjson.loads(f"[{','.join([*others, last])}]")
    if _START in others or len(parsed) != len(others) or "path" not in last:
        raise _UnusualError
    rest = iter(parsed)
    return [next(rest) if image[-1] else image for image in found] if others else found
