"""Read the head of an HTTP response as crawlers have stored it (RFC 9112).

A line may end in LF alone (section 2.2) or in CR CR LF, a value may continue on lines that begin with a space (5.2),
and there may be spaces before the colon (5.1).
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from mmc4_pipeline.pages.declarations import declarations_of_header

# The empty line, with the end of the line before it.
_END = re.compile(rb"\n\r*+\n")
_STATUS = re.compile(rb"[\r\n]*+(?i:HTTP)/\d+(?:\.\d+)?[ \t]+(\d{3})(?!\d)")
_HTTP = re.compile(rb"[\r\n]*+(?i:HTTP)/")
_CONTENT_TYPE = re.compile(rb"\n(?i:content-type):[ \t]*([^\r\n]*)")
_NEEDS_PARSING = re.compile(rb"\n(?:[ \t]|(?i:content-encoding|transfer-encoding|content-type[ \t]))")
_DECLARES = re.compile(rb"\n(?:[tT][dD][mM]-|[cC][oO][nN][tT][eE][nN][tT]-[uU]|[xX]-[rR][oO][bB][oO][tT][sS]-)")
_FOLD = re.compile(rb"\n[ \t]+")
_CODING_FIELDS = (b"content-encoding", b"transfer-encoding")  # in the order in which they were applied
# A comma that is not within quotes.
_PARTS = re.compile(r'(?:"(?:[^"\\]|\\.)*+"?+|[^",])++', re.DOTALL)
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]++/[!#$%&'*+.^_`|~0-9A-Za-z-]++")
_CHARSET = re.compile(r";\s*charset\s*=[^;]*", re.IGNORECASE)


class HttpHead(NamedTuple):
    """What a response declares about its body, and where the body starts in the data.

    `content_type` is empty if it is missing. `codings` are in lower case, in the order in which they were applied.
    `declarations` are about the use of the content (schemas/declarations.py).
    """

    content_type: str
    codings: tuple[str, ...]
    body_start: int
    declarations: Sequence[str] = ()


def http_status(data: bytes, start: int) -> int | None:
    """Return the status of the HTTP response that starts here; None if this is not an HTTP response."""
    found = _STATUS.match(data, start)
    return int(found[1]) if found else None


def http_head(data: bytes, start: int, stop: int) -> HttpHead:
    """Read the head of the response in these bounds; data that is not an HTTP response is a body without a head.

    Raises ValueError if the head has no end.
    """
    begins = _HTTP.match(data, start, stop)
    if not begins:
        return HttpHead("", (), start)
    end = _END.search(data, begins.end(), stop)
    if not end:
        raise ValueError("the HTTP header has no end")
    head = data[begins.end() : end.start()]
    types = _CONTENT_TYPE.findall(head)
    if len(types) > 1 or _NEEDS_PARSING.search(head) or _DECLARES.search(head):
        return _parsed(head, end.end())
    return HttpHead(types[0].strip().decode("latin-1") if types else "", (), end.end())


def _parsed(head: bytes, body_start: int) -> HttpHead:
    fields: dict[bytes, list[str]] = {}
    for line in _FOLD.sub(b" ", head).split(b"\n")[1:]:
        name, _, value = line.partition(b":")
        fields.setdefault(name.strip().lower(), []).append(value.replace(b"\r", b" ").strip().decode("latin-1"))
    codings = ",".join(",".join(fields.get(name, ())) for name in _CODING_FIELDS).lower().split(",")
    declared = ((name.decode("latin-1"), value) for name, values in fields.items() for value in values)
    return HttpHead(
        _content_type(fields.get(b"content-type", [])),
        tuple(filter(None, map(str.strip, codings))),
        body_start,
        declarations_of_header(declared),
    )


def _content_type(values: list[str]) -> str:
    """Return the type that browsers use of several (WHATWG Fetch, "extract a MIME type"): the last one that is valid.

    It keeps the charset of an earlier field if that names the same type and this one has no charset.
    """
    if len(values) < 2:
        return "".join(values)
    chosen, essence, charset = "", "", ""
    for part in (part.strip() for value in values for part in _PARTS.findall(value)):
        found = _MEDIA_TYPE.match(part)
        if not found or found[0] == "*/*":
            continue
        own = _CHARSET.search(part)
        if found[0].lower() != essence:
            essence, charset = found[0].lower(), ""
        charset = own[0] if own else charset
        chosen = part if own else part + charset
    return chosen or next(filter(None, reversed(values)), "")
