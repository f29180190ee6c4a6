"""Page records as the pages stage shuffles them: small, since a crawl has more of them than any machine has memory."""

import zlib
from dataclasses import dataclass

import orjson
from pydantic import TypeAdapter

from schemas.page import Page

_PAGES = TypeAdapter(Page)


@dataclass(frozen=True, slots=True)
class PackedPage:
    """A page as compressed JSON, with where it came from."""

    source: str
    data: bytes


def pack(page: Page, source: str) -> PackedPage:
    """Compress a page; half of a character (a lone surrogate), which no text has, becomes a question mark."""
    try:
        as_json = orjson.dumps(page)
    except TypeError:
        as_json = _PAGES.dump_json(page, fallback=str)
    return PackedPage(source, zlib.compress(as_json, 1))


def unpack(packed: PackedPage) -> Page:
    """Give the page back."""
    return _PAGES.validate_json(zlib.decompress(packed.data))
