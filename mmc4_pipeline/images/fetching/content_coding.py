"""Undoes content codings of images and robots.txt. Requests accept none, but some servers send them nevertheless."""

from mmc4_pipeline.commoncrawl.payload import decoded_body

_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF")


def decoded(body: bytes, values: list[str]) -> bytes:
    """Return a body without the codings that its Content-Encoding fields name.

    An image that is not coded, whatever the fields say, is returned as it is. Raises ValueError if a coding cannot be
    undone, or if the result is too large.
    """
    codings = [coding.strip().lower() for value in values for coding in value.split(",")]
    if body.startswith(_IMAGE_STARTS):
        return body
    return decoded_body(body, tuple(filter(None, codings)))
