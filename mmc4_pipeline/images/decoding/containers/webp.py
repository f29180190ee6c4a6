"""Takes a WebP apart (RFC 9649)."""

from mmc4_pipeline.images.decoding.containers.picture import MAX_PROFILE, NoPictureError, Picture

_MAX_CHUNKS = 10_000
_OF_PICTURE = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
_DATA = (b"VP8 ", b"VP8L", b"ANMF")  # the first of them is the picture, or the first one of an animation
_FLAGS = 8  # the position of the flags in a VP8X chunk
_HAS_METADATA = 0x20 | 0x08 | 0x04  # flags: ICC profile, EXIF, XMP


def is_webp(body: bytes) -> bool:
    """Return whether these are the first bytes of a WebP."""
    return body[:4] == b"RIFF" and body[8:12] == b"WEBP"


def take_apart(body: bytes) -> Picture:
    """Return the first picture of a WebP; raises NoPictureError if there is none."""
    end = min(len(body), 8 + int.from_bytes(body[4:8], "little"))
    complete = len(body) >= 8 + int.from_bytes(body[4:8], "little")
    kept, metadata, has_data = list[bytes](), dict[bytes, bytes](), False
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > end:
            break
        kind, length = body[position : position + 4], int.from_bytes(body[position + 4 : position + 8], "little")
        chunk = body[position : position + 8 + length + length % 2]
        if len(chunk) < 8 + length:
            complete = False
            break
        if kind in _OF_PICTURE and not (has_data and kind in _DATA):
            kept.append(_without_metadata(chunk) if kind == b"VP8X" else chunk)
            has_data = has_data or kind in _DATA
        elif kind in (b"EXIF", b"ICCP"):
            metadata.setdefault(kind, chunk[8 : 8 + length])
        position += 8 + length + length % 2
    if not has_data:
        raise NoPictureError("WebP without picture data" if complete else "WebP cut short")
    data = b"WEBP" + b"".join(kept)
    exif, profile = metadata.get(b"EXIF", b"").removeprefix(b"Exif\0\0"), metadata.get(b"ICCP", b"")
    riff = b"RIFF" + len(data).to_bytes(4, "little") + data
    return Picture(riff, complete, exif, profile if len(profile) <= MAX_PROFILE else b"")


def _without_metadata(chunk: bytes) -> bytes:
    return chunk[:_FLAGS] + bytes([chunk[_FLAGS] & ~_HAS_METADATA]) + chunk[_FLAGS + 1 :] if chunk[_FLAGS:] else chunk
