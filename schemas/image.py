"""Images: what a link answered and what was measured on it; what the images stage writes."""

from dataclasses import dataclass

from schemas.arrow import UInt64


@dataclass(frozen=True, slots=True)
class Image:
    """One fetched image link. Null where nothing could be measured.

    `width` and `height` are pixels as received, upright; `byte_size` and `sha256` are of the bytes as received.
    `phash` is the 64-bit perceptual hash; `sharpness` the variance of the Laplacian with the longest side at 400
    pixels. `face_detections` has five numbers for each face: left, top, width and height in pixels of the stored JPEG,
    and the detector's confidence; null where none looked. `offset` and `length` give the stored JPEG's bytes in the
    shard's tar.
    `reason` says why the images stage dropped it and is null for an image worth scoring. `filter` is the key in the
    recipe of the filter that dropped it, and null if none did.
    """

    key: str
    position: int
    url: str
    route: str | None = None
    http_status: int | None = None
    error: str | None = None
    robots_tag: str | None = None
    sha256: str | None = None
    byte_size: int | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    phash: UInt64 | None = None
    sharpness: float | None = None
    face_detections: list[list[float]] | None = None
    offset: int | None = None
    length: int | None = None
    reason: str | None = None
    filter: str | None = None
