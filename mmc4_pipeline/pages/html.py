"""Decodes the bytes of an HTML page as browsers do (WHATWG HTML, 13.2.3; WHATWG Encoding).

Who says it first is believed: a byte order mark, the HTTP header, a meta tag, an XML declaration. Where nobody does, it
is UTF-8 if the bytes look like it and Windows-1252 otherwise: what else English pages are written in.
"""

import codecs
import re

import webencodings

_HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]{2,40})", re.IGNORECASE)
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_META = re.compile(rb"<meta[\s/]([^>]*)", re.IGNORECASE)
_ATTRIBUTE = re.compile(rb"([^\s=/\"'<>]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_XML = re.compile(rb"<\?xml[^>]{0,200}?\sencoding\s*=\s*[\"']\s*([^\s\"'>]{2,40})")
_META_WITHIN = 4096  # bytes; browsers scan 1024 ahead, but honour a later one once they come to it
_MARKS = (
    (codecs.BOM_UTF8, "utf-8", 3),
    (codecs.BOM_UTF16_LE, "utf-16-le", 2),
    (codecs.BOM_UTF16_BE, "utf-16-be", 2),
)
_WITHOUT_MARK = ((b"<\x00", "utf-16-le"), (b"\x00<", "utf-16-be"))  # how nothing but a page in UTF-16 begins


def decode_html(body: bytes, content_type: str) -> str:
    """Decode a page; bytes that don't fit are replaced, never an error."""
    for mark, name, length in _MARKS:
        if body.startswith(mark):
            return body[length:].decode(name, "replace")
    codec = _declared_by_header(content_type) or _declared_by_page(body)
    return codec.decode(body, "replace")[0] if codec else _by_the_bytes(body)


def _declared_by_header(content_type: str) -> codecs.CodecInfo | None:
    found = _HEADER.search(content_type)
    return _codec(found.group(1)) if found else None


def _declared_by_page(body: bytes) -> codecs.CodecInfo | None:
    """Give what the first usable meta tag says, else the XML declaration."""
    for beginning, name in _WITHOUT_MARK:
        if body.startswith(beginning):
            return codecs.lookup(name)
    start = _COMMENT.sub(b"", body[:_META_WITHIN])
    labels = [label for tag in _META.finditer(start) if (label := _label_of_meta(tag.group(1)))]
    labels += _XML.findall(start[:_META_WITHIN]) if start.startswith(b"<?xml") else []
    codec = next((codec for label in labels if (codec := _codec(label.decode("latin-1")))), None)
    if codec and codec.name.startswith("utf-16"):
        return codecs.lookup("utf-8")  # what could be read as ASCII is wrong about that
    if codec and codec.name == "x-user-defined":
        return codecs.lookup("cp1252")
    return codec


def _label_of_meta(inside: bytes) -> bytes | None:
    """Give the label of `charset=…`, or of `http-equiv=Content-Type content="…; charset=…"`."""
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
    """Give the codec that browsers take for a label: Windows-1252 for Latin-1, for one. None for an unknown label.

    Those that browsers refuse to read for fear of scripts (WHATWG's "replacement") count as unknown.
    """
    encoding = webencodings.lookup(label) if label.isascii() else None
    if encoding is None or encoding.name == "replacement":
        return None
    return codecs.lookup("gb18030") if encoding.name == "gbk" else encoding.codec_info


def _by_the_bytes(body: bytes) -> str:
    """Read as UTF-8 what mostly is, a few broken characters or a cut end notwithstanding; else as Windows-1252."""
    text = body.decode("utf-8", "replace")
    if text.isascii():
        return text
    broken = text.count("\ufffd")
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    return text if beyond_ascii > 2 * broken else body.decode("cp1252", "replace")
