"""Extract the few needed values from a WAT record's JSON, if possible without parsing all of it.

A WAT record lists every link, script and header of a page. Images are a tenth of that, and parsing the rest would take
most of the time spent on a WAT file. So the bytes are searched for images, and only those are parsed. stringzilla
searches several times as fast as `bytes.find` and regular expressions, by the processor's vector instructions. This is
safe because JSON escapes a quote within a string with a backslash: in valid JSON, `{"path":"IMG@/src"` with plain
quotes is never inside a string. A record that is not written in Common Crawl's way is parsed completely instead.
"""

import re
from typing import Any

import msgspec
import orjson
from stringzilla import count, find

from mmc4_pipeline.pages.declarations import declarations_of_wat, may_declare
from mmc4_pipeline.pages.wat_links import WatHead, WatImage, WatImages

_OFFSET = re.compile(rb'\{"Container": ?\{(?:[^{}O]++|O(?!ffset":))*+(?<=")Offset": ?"?(\d+)')
_HTML = b'"HTML-Metadata"'
_HEAD = re.compile(rb': ?\{"Head": ?\{')
_BASE = b'"Base":'
_LINKS = b'"Links":'
_ARRAY = re.compile(rb" ?\[")
_IMAGES = (b'{"path":"IMG@/src"', b'{"path": "IMG@/src"')
_IMAGE = b'IMG@/src"'
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
    links, end = find(data, _LINKS, data.find(_HTML, start)), data.rfind(b"}]", start)
    if links < 0 or end < links:
        return may_declare(data[start:])
    return may_declare(data[start:links]) or may_declare(data[end:])


def _images(data: bytes, start: int) -> WatImages | None:
    html = find(data, _HTML, start)
    if html < 0:
        return None
    head, links = _HEAD.match(data, html + len(_HTML)), find(data, _LINKS, html)
    array = _ARRAY.match(data, links + len(_LINKS))
    if not head or links < 0 or not array:
        raise _UnusualError
    base = ""
    if find(data, _BASE, head.end(), links) >= 0:
        base = _HEAD_OBJECT.decode(data[head.end() - 1 : links].rstrip(b" ,")).Base
    return WatImages(_images_of_array(data, array.end()), base)


def _images_of_array(data: bytes, start: int) -> list[WatImage]:
    """Read the objects of path IMG@/src in the array of flat objects that starts here, the record's last array."""
    end = data.rfind(b"}]", start) + 1
    if not end:
        return []
    last = data[data.rfind(b"{", start, end) : end]  # parses only if the array really ends there
    number = count(data, _IMAGE, start, end)
    found = next((found for form in _IMAGES if len(found := _objects(data, form, start, end)) == number), None)
    if found is None:
        raise _UnusualError
    # An object that was split at a } inside one of its strings does not parse either.
    link, *images = _OBJECTS.decode(b"[%b]" % b',{"":0'.join([last, *found]))
    if not link.path:
        raise _UnusualError
    return images


def _objects(data: bytes, opening: bytes, start: int, end: int) -> list[bytes]:
    """Return what follows the opening in each object that opens like this, up to the next brace."""
    found: list[bytes] = []
    at = find(data, opening, start, end)
    while at >= 0:
        closed = data.find(b"}", at) + 1
        found.append(data[at + len(opening) : closed])
        at = find(data, opening, closed, end)
    return found
