"""Prefetched images: the records of an image shard that img2dataset wrote."""

import msgspec

from schemas.reasons import Reason


class PrefetchedImage(msgspec.Struct, frozen=True):
    """One row of an image shard. `url` ends before any "#".

    `offset` and `length` locate the image in the shard's tar. `width` and `height` (pixels) and `sha256` are those of
    the image on the web, before img2dataset resized it; null if img2dataset did not record them. `reason` is the reason
    why there is no image, and `error` img2dataset's message.
    """

    url: str
    offset: int | None = None
    length: int | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    http_status: int | None = None
    error: str | None = None
    reason: Reason | None = None
