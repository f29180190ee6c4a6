"""Takes a GIF apart (GIF89a, sections 17 to 27)."""

from mmc4_pipeline.images.decoding.containers.picture import NoPictureError, Picture

SIGNATURES = (b"GIF87a", b"GIF89a")
_EXTENSION, _PICTURE, _END = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9  # the extension that names the transparent colour of the next picture


def take_apart(body: bytes) -> Picture:
    """Return the first picture of a GIF, without comments; raises NoPictureError if there is none."""
    position = 13 + _colours(body, 10)
    screen, control = body[:position], b""
    while position < len(body):
        start, block = position, body[position]
        if block == _EXTENSION:
            position = _after_blocks(body, position + 2)
            if body[start + 1 : start + 2] == bytes([_CONTROL]):
                control = body[start:position]
        elif block == _PICTURE:
            position = _after_blocks(body, start + 10 + _colours(body, start + 9) + 1)
            complete = position <= len(body)
            return Picture(screen + control + body[start:position] + bytes([_END] if complete else []), complete)
        elif block == _END:
            break
        else:  # decoders skip such bytes
            position += 1
    raise NoPictureError("GIF without a picture")


def _colours(body: bytes, flags: int) -> int:
    """Return the length of the colour table that the flags at this position declare."""
    packed = body[flags] if flags < len(body) else 0
    return 3 << ((packed & 7) + 1) if packed & 0x80 else 0


def _after_blocks(body: bytes, position: int) -> int:
    """Return the position after a chain of data blocks; it is beyond the end of the file if the chain is broken."""
    while position < len(body) and body[position]:
        position += body[position] + 1
    return position + 1
