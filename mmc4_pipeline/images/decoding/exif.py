"""Reads the orientation from EXIF data, which may be hostile."""

import struct
from collections.abc import Iterator

ORIENTATION = 0x0112
_DIRECTORIES = (0x8769, 0x8825, 0xA005)  # tags that point at further directories: EXIF, GPS, interoperability
_MAX_DIRECTORIES = 8
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes by type (TIFF 6.0, 2)
_NUMBERS = {1: "B", 3: "H", 4: "L"}
_Entry = tuple[int, int, int, bytes]  # tag, type, number of values, and the four bytes of a short value


def orientation_of(exif: bytes) -> int:
    """Return the orientation, 1 to 8; an image with broken EXIF data is upright, as in browsers."""
    order = _order(exif)
    for tag, type_, _, value in _entries(exif, _first(exif, order), order) if order else ():
        if tag == ORIENTATION and type_ in _NUMBERS:
            (orientation,) = struct.unpack_from(order + _NUMBERS[type_], value)
            return orientation if orientation in range(1, 9) else 1
    return 1


def is_harmless(exif: bytes) -> bool:
    """Return whether reading the data copies no more than twice its size.

    A directory may point at the same bytes thousands of times, and programs make a copy for each time.
    """
    order = _order(exif)
    waiting, read, copied = [_first(exif, order)] if order else [], set[int](), 0
    while waiting:
        offset = waiting.pop()
        if offset in read or len(read) >= _MAX_DIRECTORIES:
            return False
        read.add(offset)
        for tag, type_, number, value in _entries(exif, offset, order):
            copied += _SIZES.get(type_, 0) * number
            if tag in _DIRECTORIES:
                waiting.append(struct.unpack(order + "L", value)[0])
        if copied > 2 * len(exif):
            return False
    return True


def _order(exif: bytes) -> str:
    """Return the byte order for `struct`, or nothing if this is not a TIFF header."""
    return {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4], "") if len(exif) >= 8 else ""


def _first(exif: bytes, order: str) -> int:
    return int(struct.unpack_from(order + "L", exif, 4)[0]) if order else 0


def _entries(exif: bytes, offset: int, order: str) -> Iterator[_Entry]:
    """Yield the entries of the directory at that offset, as far as the data goes."""
    if offset + 2 > len(exif):
        return
    (number,) = struct.unpack_from(order + "H", exif, offset)
    for position in range(offset + 2, min(offset + 2 + 12 * number, len(exif) - 11), 12):
        yield struct.unpack_from(order + "HHL4s", exif, position)
