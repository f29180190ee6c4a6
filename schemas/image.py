"""Images: the result of fetching and measuring each image link, written by the images stage."""

from dataclasses import dataclass

from schemas.arrow import UInt64


@dataclass(frozen=True, slots=True)
class Image:
    """One image link after fetching. A field is null if it could not be measured.

    `robots_tag` has the X-Robots-Tag headers, one per line, and `declarations` what else the server and files of its
    host declare about the use of the image (schemas/declarations.py). `width` and `height` are the upright image's in
    pixels, as received; `byte_size` and `sha256` are of the bytes as received. `phash` is the 64-bit perceptual hash.
    `face_detections` has five numbers for each face: left, top, width and height in pixels of the stored JPEG, and the
    detector's confidence; null if no detector was used. `offset` and `length` locate the stored JPEG in the shard's
    tar.
    `reason` is the reason why the images stage dropped the image, null if it is worth scoring. `filter` is the recipe's
    key of the filter that dropped it, null if no filter did.
    """

    key: str
    position: int
    url: str
    route: str | None = None
    http_status: int | None = None
    error: str | None = None
    robots_tag: str | None = None
    declarations: str | None = None
    sha256: str | None = None
    byte_size: int | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    phash: UInt64 | None = None
    face_detections: list[list[float]] | None = None
    offset: int | None = None
    length: int | None = None
    reason: str | None = None
    filter: str | None = None
