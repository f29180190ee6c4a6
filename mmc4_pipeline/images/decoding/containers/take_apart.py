"""Recognises the format of an image file and takes it apart."""

from mmc4_pipeline.images.decoding.containers import gif, jpeg, png, webp
from mmc4_pipeline.images.decoding.containers.picture import Picture


def take_apart(body: bytes) -> Picture | None:
    """Return the picture of an image file, None if it is in none of our formats; raises NoPictureError if it has none.

    Takes time and memory that are proportional to the size of the file, whatever it contains.
    """
    if body.startswith(jpeg.SIGNATURE):
        return jpeg.take_apart(body)
    if body.startswith(png.SIGNATURE):
        return png.take_apart(body)
    if body.startswith(gif.SIGNATURES):
        return gif.take_apart(body)
    return webp.take_apart(body) if webp.is_webp(body) else None
