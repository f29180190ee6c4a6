"""Ready-made images: what a shard that img2dataset made says of a URL."""

from dataclasses import dataclass

from schemas.arrow import UInt64
from schemas.reasons import Reason


@dataclass(frozen=True, slots=True)
class PrefetchedImage:
    """One row of an image shard. `url` has nothing behind "#", `url_hash` is its stable hash.

    `offset` and `length` give the image's bytes in the shard's tar. `width` and `height` are pixels, `sha256` is of the
    bytes, both as the web had it, before img2dataset resized it; null where img2dataset did not note them. `reason`
    says why there is no image, and `error` in which words img2dataset said so.
    """

    url: str
    url_hash: UInt64
    offset: int | None = None
    length: int | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    http_status: int | None = None
    error: str | None = None
    reason: Reason | None = None
