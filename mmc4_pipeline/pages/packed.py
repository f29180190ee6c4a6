"""What became of pages, packed small: as the pages stage stores it for each part of the crawl, and shuffles it."""

import json
import zlib
from typing import Any

import msgspec

from mmc4_pipeline.commoncrawl.records import PageContent
from schemas.document import RejectedDocument
from schemas.page import Packed, PackedKind, Page

_DECODERS: dict[PackedKind, msgspec.json.Decoder[Any]] = {
    PackedKind.CONTENT: msgspec.json.Decoder(PageContent),
    PackedKind.PAGE: msgspec.json.Decoder(Page),
    PackedKind.REJECT: msgspec.json.Decoder(RejectedDocument),
    PackedKind.COUNTS: msgspec.json.Decoder(dict[str, Any]),
}


def pack(shard: int, kind: PackedKind, value: Any, source: str = "") -> Packed:  # noqa: ANN401 - one of four types
    """Pack a value of the kind; half of a character (a lone surrogate), which no text has, becomes a question mark."""
    try:
        as_json = msgspec.json.encode(value)
    except UnicodeEncodeError:
        as_json = json.dumps(msgspec.to_builtins(value), ensure_ascii=False).encode("utf-8", "replace")
    return Packed(shard, kind, source, zlib.compress(as_json, 1))


def unpack(packed: Packed) -> Any:  # noqa: ANN401 - one of four types
    """Give the value back."""
    return _DECODERS[packed.kind].decode(zlib.decompress(packed.data))
