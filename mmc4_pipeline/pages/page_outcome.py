"""Pack the outcomes of pages compactly, as the pages stage stores them for each part of the crawl and shuffles them."""

import json
import zlib
from typing import Any

import msgspec

from mmc4_pipeline.pages.content import PageContent
from schemas.document import RejectedDocument
from schemas.page import OutcomeKind, Page, PageOutcome

_DECODERS: dict[OutcomeKind, msgspec.json.Decoder[Any]] = {
    OutcomeKind.CONTENT: msgspec.json.Decoder(PageContent),
    OutcomeKind.PAGE: msgspec.json.Decoder(Page),
    OutcomeKind.REJECT: msgspec.json.Decoder(RejectedDocument),
    OutcomeKind.COUNTS: msgspec.json.Decoder(dict[str, Any]),
}


def pack(position: bytes, kind: OutcomeKind, value: Any, source: str = "") -> PageOutcome:
    """Pack a value of the kind; a lone surrogate, which is not a character, becomes a question mark."""
    try:
        as_json = msgspec.json.encode(value)
    except UnicodeEncodeError:
        as_json = json.dumps(msgspec.to_builtins(value), ensure_ascii=False).encode("utf-8", "replace")
    return PageOutcome(position, kind, source, zlib.compress(as_json, 1))


def pack_text(position: bytes, text: str, source: str) -> PageOutcome:
    """Pack the text of a document, as `text_of` unpacks it."""
    return PageOutcome(position, OutcomeKind.TEXT, source, zlib.compress(text.encode("utf-8", "replace"), 1))


def text_of(packed: PageOutcome) -> str:
    """Return a packed text."""
    return zlib.decompress(packed.data).decode("utf-8")


def unpack(packed: PageOutcome) -> Any:
    """Return the packed value."""
    return _DECODERS[packed.kind].decode(zlib.decompress(packed.data))
