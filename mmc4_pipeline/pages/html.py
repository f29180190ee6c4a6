"""Decodes the bytes of an HTML page: character set by HTTP header, then meta tag, then the bytes themselves."""

import codecs
import re

_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.\-]{2,40})", re.IGNORECASE)
_HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.\-]{2,40})", re.IGNORECASE)
_META_WITHIN = 4096  # bytes; browsers look at 1024, but real pages come late with it


def decode_html(body: bytes, content_type: str) -> str:
    """Decode a page; bytes that don't fit are replaced, never an error."""
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    header = _HEADER.search(content_type)
    meta = _META.search(body[:_META_WITHIN])
    codec = _codec(header.group(1)) if header else None
    if codec is None and meta:
        codec = _codec(meta.group(1).decode("ascii"))
        if codec and codec.startswith(("utf-16", "utf-32")):
            codec = "utf-8"  # a meta tag that could be read as ASCII is wrong about that (WHATWG HTML, 13.2.3.2)
    if codec:
        return body.decode(codec, "replace")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")


def _codec(label: str) -> str | None:
    """Give Python's codec for a label, as browsers read it: Latin-1 and ASCII mean Windows-1252 (WHATWG Encoding)."""
    try:
        codec = codecs.lookup(label)
        b"\xff".decode(label, "replace")  # "base64" is a codec, but of no page, and "idna" can't replace what is wrong
    except (LookupError, UnicodeError):
        return None
    if codec.name in ("iso8859-1", "ascii"):
        return "cp1252"
    return codec.name
