"""Takes the few values that are wanted out of a WAT record's JSON, where possible without parsing all of it.

A WAT record lists every link, script and header of a page. Its images are a tenth of that, and to parse the rest would
take most of the time that a WAT file takes. So images are looked for in the bytes and only what is around them is
parsed. That is safe because JSON puts a backslash before a quote within a string: `"IMG@/src"` between plain quotes is
a whole string, and what is cut out there up to a } parses only if that stands outside of strings. Wherever a record is
not written as Common Crawl writes it, all of it is parsed instead.
"""

import re
from typing import Any

import orjson

_OFFSET = re.compile(rb'\{"Container": ?\{[^{}]*"Offset": ?"?(\d+)')
_HTML = b'"HTML-Metadata"'
_HEAD = re.compile(rb': ?\{"Head": ?\{')
_LINKS = b'"Links":'
_ARRAY = re.compile(rb" ?\[")
_START = b'{"path":"IMG@/src"'
# No I and no quote before it: the rarer the first byte, the faster the search. The group is empty where what stands
# before is not the start of an object, which is looked at last for the same reason.
_IMAGE = re.compile(rb'MG@/src"(?:(?:(?<=\{"path":"IMG@/src")|(?<=\{"path": "IMG@/src"))([^}]*\}))?')


class _UnusualError(Exception):
    """The record is not written as Common Crawl does."""


def offset_and_html(data: bytes, start: int) -> tuple[str, dict[str, Any] | None]:
    """Give Container.Offset and HTML-Metadata (None where it has none) of the WAT record.

    Its JSON starts there and goes on to the data's end. What the metadata has under "Links" may be the images only;
    "Head" is there only where it has a "Base". Raises ValueError where the record is no JSON.
    """
    try:
        return _offset(data, start), _html(data, start)
    except (_UnusualError, orjson.JSONDecodeError):
        record = orjson.loads(data[start:])
    html = _below(record, "Envelope", "Payload-Metadata", "HTTP-Response-Metadata", "HTML-Metadata")
    return str(_below(record, "Container", "Offset")), html if isinstance(html, dict) else None


def _below(value: Any, *keys: str) -> Any:  # noqa: ANN401 - JSON is anything
    """Give what nested JSON objects hold under the keys; None where they don't."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _offset(data: bytes, start: int) -> str:
    found = _OFFSET.match(data, start)
    if not found:
        raise _UnusualError
    return found[1].decode("ascii")


def _html(data: bytes, start: int) -> dict[str, Any] | None:
    html = data.find(_HTML, start)
    if html < 0:
        return None
    links = data.find(_LINKS, html)
    array = _ARRAY.match(data, links + len(_LINKS))
    if links < 0 or not array or not _HEAD.match(data, html + len(_HTML)) or data.find(b'"Base"', html, links) >= 0:
        raise _UnusualError
    return {"Links": _images(data, array.end())}


def _images(data: bytes, start: int) -> list[dict[str, Any]]:
    """Parse the objects of path IMG@/src in the array of flat objects that starts here, the record's last array."""
    end = data.rfind(b"}]", start) + 1
    if not end:
        return []
    found = _IMAGE.findall(data, start, end)
    last = data[data.rfind(b"{", start, end) : end]  # parses only if the array does end there
    links: list[dict[str, Any]]
    *links, last = orjson.loads(b"[%s]" % b",".join([*(_START + rest for rest in found), last]))
    if b"" in found or len(links) != len(found) or "path" not in last:
        raise _UnusualError
    return links
