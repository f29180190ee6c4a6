"""Extract the few needed values from a WAT record's JSON, if possible without parsing all of it.

A WAT record lists every link, script and header of a page. Images are a tenth of that, and parsing the rest would take
most of the time spent on a WAT file. So the bytes are searched for images, and only those are parsed. This is safe
because JSON escapes a quote within a string with a backslash: in valid JSON, `{"path":"IMG@/src"` with plain quotes is
never inside a string. A record that is not written in Common Crawl's way is parsed completely instead.
"""

import re
from typing import Any

import msgspec
import orjson

from mmc4_pipeline.pages.declarations import declarations_of_wat, may_declare
from mmc4_pipeline.pages.wat_links import WatHead, WatImage, WatImages

_OFFSET = re.compile(rb'\{"Container": ?\{[^{}]*"Offset": ?"?(\d+)')
_HTML = b'"HTML-Metadata"'
_HEAD = re.compile(rb': ?\{"Head": ?\{')
# The rarer the first character, the faster the search: so not a quote or an I, and what precedes is checked afterwards.
_BASE = re.compile(rb"""Base":(?<="Base":)""")
_LINKS = re.compile(rb"""Links":(?<="Links":) ?\[""")
# The group is empty if an object does not start just before.
_IMAGE = re.compile(rb"""MG@/src"(?:(?:(?<=\{"path":"IMG@/src")|(?<=\{"path": "IMG@/src")),? ?([^}]*\}))?""")
_HEAD_OBJECT = msgspec.json.Decoder(WatHead)
_OBJECTS = msgspec.json.Decoder(list[WatImage])


class _UnusualError(Exception):
    """The record is not written in Common Crawl's way."""


def container_offset(data: bytes, start: int) -> str:
    """Return Container.Offset of the WAT record whose JSON is the data from `start` on.

    Raises ValueError if the record is not valid JSON.
    """
    found = _OFFSET.match(data, start)
    return found[1].decode("ascii") if found else str(_below(orjson.loads(data[start:]), "Container", "Offset"))


def html_images(data: bytes, start: int, *, declarations: bool = False) -> WatImages | None:
    """Return the images of the HTML page that the WAT record describes; None if it does not describe an HTML page.

    What the page declares about its use is found only on request. Raises ValueError if the record is not valid JSON.
    """
    try:
        images = _images(data, start)
        if images is None or not declarations or not _may_declare(data, start):
            return images
    except (_UnusualError, ValueError):
        images = None
    response = _below(orjson.loads(data[start:]), "Envelope", "Payload-Metadata", "HTTP-Response-Metadata")
    html = _below(response, "HTML-Metadata")
    if images is None and isinstance(html, dict):
        images = WatImages.of(html)
    if images is None or not declarations:
        return images
    return msgspec.structs.replace(images, declarations=declarations_of_wat(response))


def _below(value: Any, *keys: str) -> Any:
    """Return the value at these keys of nested JSON objects; None if there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _may_declare(data: bytes, start: int) -> bool:
    """Return whether a record may have declarations: in what surrounds the array of links, most of the record."""
    links, end = _LINKS.search(data, data.find(_HTML, start)), data.rfind(b"}]", start)
    if links is None or end < links.end():
        return may_declare(data[start:])
    return may_declare(data[start : links.start()]) or may_declare(data[end:])


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
    last = data[data.rfind(b"{", start, end) : end]  # parses only if the array really ends there
    # An object that was split at a } inside one of its strings does not parse either.
    link, *images = _OBJECTS.decode(b"[%b%b]" % (last, b",{".join([b"", *found])))
    if not link.path:
        raise _UnusualError
    return images
