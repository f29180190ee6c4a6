"""The ledger: one row for every image link of every located page, kept or not."""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from functools import cache
from typing import Any, cast, get_type_hints

from schemas.arrow import Float32, UInt64
from schemas.columns import Column, Shape, ledger_columns
from schemas.reasons import Stage


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What became of one image link: the `stage` and `reason` of its drop, or the `shard` and `key` of a kept image.

    `filter` is the key in the recipe of the filter that dropped it, null if none did. `declaration` is the text for
    which a filter of declarations dropped it (schemas/declarations.py). `shard` is the path of a file
    below the dataset's folder, in the first of the dataset's formats; `key` is the key of the document in it.

    Measurements are null if the link was dropped before they could be taken. `byte_size` and `sha256` are of the bytes
    as received, `stored_bytes` is the size of the JPEG that was stored for them. `sentence` (index from 0) comes from
    the assignment and is null for dropped images. `sentences` and `words` are the numbers of sentences and words of the
    page's document, null if the page was taken down. `after_sentence` and `inside_text` are the link's place in the
    text (schemas/page.py), null if it is not known. `best_sentence` is the sentence that CLIP finds most similar (the
    first of several), and `page_similarity` the similarity to the sentence that page order gives, null if the place is
    not known. Every scored image has both, whatever the assignment. `published_sentence` and `published_similarity` are
    what the publisher of the document recorded, and `remeasured_similarity` is the similarity to that sentence as it
    was computed now; they are null unless the document is from a published dataset.

    The columns of scores are not here, because each dataset has its own: see `ledger_record`.
    """

    page_url: str
    image_url: str
    position: int
    document: str
    route: str | None = None
    http_status: int | None = None
    error: str | None = None
    sha256: str | None = None
    byte_size: int | None = None
    stored_bytes: int | None = None
    width: int | None = None
    height: int | None = None
    phash: UInt64 | None = None
    sentence: int | None = None
    sentences: int | None = None
    words: int | None = None
    after_sentence: int | None = None
    inside_text: bool | None = None
    best_sentence: int | None = None
    page_similarity: Float32 | None = None
    published_sentence: int | None = None
    published_similarity: Float32 | None = None
    remeasured_similarity: Float32 | None = None
    stage: Stage | None = None
    reason: str | None = None
    filter: str | None = None
    declaration: str | None = None
    shard: str | None = None
    key: str | None = None


_SCORES_AFTER = "phash"


@cache
def ledger_record(columns: Sequence[Column]) -> type[LedgerRow]:
    """Return the class of a ledger's rows: the fields of `LedgerRow`, and those of a tuple of columns of scores."""
    hints: dict[str, Any] = get_type_hints(LedgerRow, include_extras=True)
    own = [
        (item.name, hints[item.name], field(default=None))
        if item.default is not MISSING
        else (item.name, hints[item.name])
        for item in fields(LedgerRow)
    ]
    scores = [
        (item.name, str | None if item.column.shape is Shape.TEXT else Float32 | None, field(default=None))
        for item in ledger_columns(columns)
    ]
    at = [item.name for item in fields(LedgerRow)].index(_SCORES_AFTER) + 1
    made = make_dataclass("LedgerRow", [*own[:at], *scores, *own[at:]], frozen=True, slots=True)
    return cast("type[LedgerRow]", made)
