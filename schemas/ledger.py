"""The ledger: one row for every image link of every located page, kept or not."""

from dataclasses import dataclass

from schemas.arrow import Float32, UInt64
from schemas.reasons import Stage


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What became of one image link: `stage` and `reason` of its drop, or the `shard` and `key` where it lies.

    `filter` is the key in the recipe of the filter that dropped it, null if none did.
    `shard` is a file of the dataset, named below its folder, in the first format that it was cut in.

    Measurements are null where the link was dropped before they could be taken. `best_similarity` is the highest
    to any sentence; `matched_similarity` and `sentence` (index from 0) are the assignment's, for kept images.
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
    width: int | None = None
    height: int | None = None
    phash: UInt64 | None = None
    nsfw: Float32 | None = None
    face: Float32 | None = None
    best_similarity: Float32 | None = None
    matched_similarity: Float32 | None = None
    sentence: int | None = None
    stage: Stage | None = None
    reason: str | None = None
    filter: str | None = None
    shard: str | None = None
    key: str | None = None
