"""Takes a PNG apart (the PNG specification, section 5)."""

import zlib
from contextlib import suppress

from mmc4_pipeline.images.decoding.containers.picture import MAX_PROFILE, NoPictureError, Picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNKS = 100_000
_OF_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
_END = bytes(4) + b"IEND\xaeB`\x82"


def take_apart(body: bytes) -> Picture:
    """Return the picture of a PNG, of an animation the one for programs that cannot animate.

    Raises NoPictureError if there is none.
    """
    kept, exif, profile = [SIGNATURE], b"", b""
    position, complete, has_data = len(SIGNATURE), False, False
    for _ in range(_MAX_CHUNKS):
        length, kind = int.from_bytes(body[position : position + 4], "big"), body[position + 4 : position + 8]
        end = position + 12 + length
        if complete := kind == b"IEND":
            break
        if end > len(body):  # the chunk was truncated, or the file was; decoders would reserve the declared length
            break
        if kind in _OF_PICTURE:
            kept.append(body[position:end])
            has_data = has_data or kind == b"IDAT"
        elif kind == b"eXIf" and not exif:
            exif = body[position + 8 : end - 4]
        elif kind == b"iCCP" and not profile:
            profile = _inflated(body[position + 8 : end - 4])
        position = end
    else:
        raise NoPictureError(f"PNG of more than {_MAX_CHUNKS} chunks")
    if not has_data:
        raise NoPictureError("PNG without picture data" if complete else "PNG cut short")
    return Picture(b"".join([*kept, _END]), complete, exif, profile)


def _inflated(chunk: bytes) -> bytes:
    """Return the profile in an iCCP chunk, or nothing if it is damaged or too large."""
    compressed = chunk.partition(b"\0")[2][1:]
    with suppress(zlib.error):
        inflating = zlib.decompressobj()
        profile = inflating.decompress(compressed, MAX_PROFILE)
        return profile if inflating.eof else b""
    return b""
