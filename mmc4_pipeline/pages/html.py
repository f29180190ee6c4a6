"""Decode the bytes of an HTML page in the same way as browsers (WHATWG HTML, 13.2.3; WHATWG Encoding).

The encoding is the first one declared by: a byte order mark, the HTTP header, a meta tag, an XML declaration. Without a
declaration it is UTF-8 if the bytes look like it, otherwise Windows-1252, the other usual encoding of English pages.
"""

import codecs
import re

import webencodings

_HEADER = re.compile(r"charset\s*+=\s*+[\"']?+\s*+([^\s\"';,]{2,40})", re.IGNORECASE)
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_META = re.compile(rb"<meta[\s/]([^>]*)", re.IGNORECASE)
_ATTRIBUTE = re.compile(rb"([^\s=/\"'<>]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_XML = re.compile(rb"<\?xml[^>]{0,200}?\sencoding\s*=\s*[\"']\s*([^\s\"'>]{2,40})")
_META_WITHIN = 4096  # bytes; browsers look 1024 ahead, but also honour a later tag when they reach it
_MARKS = (
    (codecs.BOM_UTF8, "utf-8", 3),
    (codecs.BOM_UTF16_LE, "utf-16-le", 2),
    (codecs.BOM_UTF16_BE, "utf-16-be", 2),
)
_WITHOUT_MARK = ((b"<\x00", "utf-16-le"), (b"\x00<", "utf-16-be"))  # only a page in UTF-16 begins like this


def decode_html(body: bytes, content_type: str) -> str:
    """Decode a page; bytes that do not fit are replaced and never raise an error."""
    for mark, name, length in _MARKS:
        if body.startswith(mark):
            return body[length:].decode(name, "replace")
    codec = _declared_by_header(content_type) or _declared_by_page(body)
    return codec.decode(body, "replace")[0] if codec else _by_the_bytes(body)


def _declared_by_header(content_type: str) -> codecs.CodecInfo | None:
    found = _HEADER.search(content_type)
    return _codec(found.group(1)) if found else None


def _declared_by_page(body: bytes) -> codecs.CodecInfo | None:
    """Return the encoding that the first usable meta tag declares, or else the XML declaration."""
    for beginning, name in _WITHOUT_MARK:
        if body.startswith(beginning):
            return codecs.lookup(name)
    start = _COMMENT.sub(b"", body[:_META_WITHIN])
    labels = [label for tag in _META.finditer(start) if (label := _label_of_meta(tag.group(1)))]
    labels += _XML.findall(start[:_META_WITHIN]) if start.startswith(b"<?xml") else []
    codec = next((codec for label in labels if (codec := _codec(label.decode("latin-1")))), None)
    if codec and codec.name.startswith("utf-16"):
        return codecs.lookup("utf-8")  # a declaration that could be read as ASCII is wrong about this
    if codec and codec.name == "x-user-defined":
        return codecs.lookup("cp1252")
    return codec


def _label_of_meta(inside: bytes) -> bytes | None:
    """Return the label in `charset=…`, or in `http-equiv=Content-Type content="…; charset=…"`."""
    attributes: dict[bytes, bytes] = {}
    for name, *values in _ATTRIBUTE.findall(inside):
        attributes.setdefault(name.lower(), b"".join(values))
    if b"charset" in attributes:
        return attributes[b"charset"]
    if attributes.get(b"http-equiv", b"").strip().lower() != b"content-type":
        return None
    found = _HEADER.search(attributes.get(b"content", b"").decode("latin-1"))
    return found.group(1).encode("latin-1") if found else None


def _codec(label: str) -> codecs.CodecInfo | None:
    """Return the codec that browsers use for a label, such as Windows-1252 for Latin-1; None for an unknown label.

    Encodings that browsers refuse for security reasons (WHATWG's "replacement") count as unknown.
    """
    encoding = webencodings.lookup(label) if label.isascii() else None
    if encoding is None or encoding.name == "replacement":
        return None
    return codecs.lookup("gb18030") if encoding.name == "gbk" else encoding.codec_info


def _by_the_bytes(body: bytes) -> str:
    """Decode bytes that are mostly UTF-8, despite a few broken characters or a truncated end; else as Windows-1252."""
    text = body.decode("utf-8", "replace")
    if text.isascii():
        return text
    broken = text.count("\ufffd")
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    return text if beyond_ascii > 2 * broken else body.decode("cp1252", "replace")
