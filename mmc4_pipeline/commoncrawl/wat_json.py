"""Takes the few values that are wanted out of a WAT record's JSON, where possible without parsing all of it.

A WAT record lists every link, script and header of a page. Its images are a tenth of that, and to parse the rest would
take most of the time that a WAT file takes. So images are looked for in the bytes and only they are parsed. That is
safe because JSON puts a backslash before a quote within a string: `{"path":"IMG@/src"` with plain quotes stands outside
of strings in whatever is JSON at all. Wherever a record is not written as Common Crawl writes it, all of it is parsed
instead.
"""

import re
from typing import Any

import msgspec
import orjson

from mmc4_pipeline.pages.wat_links import WatHead, WatImage, WatImages

_OFFSET = re.compile(rb'\{"Container": ?\{[^{}]*"Offset": ?"?(\d+)')
_HTML = b'"HTML-Metadata"'
_HEAD = re.compile(rb': ?\{"Head": ?\{')
# The rarer the first character, the faster the search: no quote and no I, and what stands before is looked at after.
_BASE = re.compile(rb"""Base":(?<="Base":)""")
_LINKS = re.compile(rb"""Links":(?<="Links":) ?\[""")
# The group is empty where what stands before is not the start of an object.
_IMAGE = re.compile(rb"""MG@/src"(?:(?:(?<=\{"path":"IMG@/src")|(?<=\{"path": "IMG@/src")),? ?([^}]*\}))?""")
_HEAD_OBJECT = msgspec.json.Decoder(WatHead)
_OBJECTS = msgspec.json.Decoder(list[WatImage])


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


def _below(value: Any, *keys: str) -> Any:
    """Give what nested JSON objects hold under the keys; None where they don't."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _images(data: bytes, start: int) -> WatImages | None:
    html = data.find(_HTML, start)
    if html < 0:
        return None
    head, links = _HEAD.match(data, html + len(_HTML)), _LINKS.search(data, html)
    if not head or not links:
        raise _UnusualError
    base = ""
    if _BASE.search(data, head.end(), links.start()):
        base = _HEAD_OBJECT.decode(data[head.end() - 1 : links.start() - 1].rstrip(b" ,")).Base
    return WatImages(_images_of_array(data, links.end()), base)


def _images_of_array(data: bytes, start: int) -> list[WatImage]:
    """Read the objects of path IMG@/src in the array of flat objects that starts here, the record's last array."""
    end = data.rfind(b"}]", start) + 1
    if not end:
        return []
    found = _IMAGE.findall(data, start, end)
    if b"" in found:
        raise _UnusualError
    last = data[data.rfind(b"{", start, end) : end]  # parses only if the array does end there
    # An object that was cut off at a } within one of its strings does not parse either.
    link, *images = _OBJECTS.decode(b"[%b%b]" % (last, b",{".join([b"", *found])))
    if not link.path:
        raise _UnusualError
    return images
