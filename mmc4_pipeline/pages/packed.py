"""What became of pages, packed small: as the pages stage stores it for each part of the crawl, and shuffles it."""

import json
import zlib
from datetime import datetime
from typing import Any

import orjson
from pydantic import TypeAdapter

from mmc4_pipeline.commoncrawl.records import PageContent
from schemas.arrow import to_dict
from schemas.document import RejectedDocument
from schemas.page import Packed, PackedKind, Page

_ADAPTERS: dict[PackedKind, TypeAdapter[Any]] = {
    PackedKind.CONTENT: TypeAdapter(PageContent),
    PackedKind.PAGE: TypeAdapter(Page),
    PackedKind.REJECT: TypeAdapter(RejectedDocument),
    PackedKind.COUNTS: TypeAdapter(dict[str, Any]),
}


def pack(shard: int, kind: PackedKind, value: Any, source: str = "") -> Packed:  # noqa: ANN401 - one of four types
    """Pack a value of the kind; half of a character (a lone surrogate), which no text has, becomes a question mark."""
    try:
        as_json = orjson.dumps(value)
    except TypeError:
        plain = json.dumps(to_dict(value), ensure_ascii=False, default=datetime.isoformat)
        as_json = plain.encode("utf-8", "replace")
    return Packed(shard, kind, source, zlib.compress(as_json, 1))


def unpack(packed: Packed) -> Any:  # noqa: ANN401 - one of four types
    """Give the value back."""
    return _ADAPTERS[packed.kind].validate_json(zlib.decompress(packed.data))
