"""Takes a JPEG apart (ITU T.81, annex B)."""

import re

from mmc4_pipeline.images.decoding.containers.picture import MAX_PROFILE, NoPictureError, Picture

SIGNATURE = b"\xff\xd8\xff"
_MAX_SEGMENTS = 10_000  # before the picture data; the longest colour profile and metadata take some hundreds
# Decoders skip bytes that are not a marker, and fill bytes; FF 00 is not a marker.
_MARKER = re.compile(rb"(\xff+)([\x01-\xfe])")
_START_OF_SCAN, _END = 0xDA, 0xD9
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))  # TEM, restart marks, start of image
_APP1, _APP2 = 0xE1, 0xE2
_METADATA = (*range(0xE1, 0xEE), 0xEF, 0xFE)  # APP1 to APP13, APP15 and comments; APP0 and APP14 say what colours are


def take_apart(body: bytes) -> Picture:
    """Return the picture of a JPEG; raises NoPictureError if there is none."""
    kept, exif, profile = [body[:2]], b"", dict[int, bytes]()
    regular, position = True, 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(body, position)
        if found is None or found[2][0] == _END:
            raise NoPictureError("JPEG without picture data")
        regular = regular and found.start() == position
        marker, start = found[2][0], found.end()
        if marker == _START_OF_SCAN:
            kept.append(body[start - 2 :])
            # An EXIF thumbnail has its own end mark, hence the start of the search.
            complete = body.rfind(b"\xff\xd9", start) >= 0
            return Picture(b"".join(kept), complete, exif, _joined(profile), regular and complete)
        if marker in _WITHOUT_LENGTH:
            regular, position = False, start
            continue
        position = start + max(2, int.from_bytes(body[start : start + 2], "big"))
        segment = body[start + 2 : position]
        if marker not in _METADATA:
            kept.append(body[start - 2 : position])
        elif marker == _APP1 and segment.startswith(b"Exif\0") and not exif:
            exif = segment[6:]
        elif marker == _APP2 and segment.startswith(b"ICC_PROFILE\0") and len(segment) > 14:
            profile.setdefault(segment[12], segment[14:])
        elif marker == _APP2 and segment.startswith(b"MPF\0"):  # several pictures, one after the other
            regular = False
    raise NoPictureError(f"JPEG of more than {_MAX_SEGMENTS} segments")


def _joined(parts: dict[int, bytes]) -> bytes:
    """Return a profile from its numbered parts, or nothing if one is missing or it is too large (ICC.1, B.4)."""
    whole = b"".join(parts[number] for number in sorted(parts))
    return whole if sorted(parts) == list(range(1, len(parts) + 1)) and len(whole) <= MAX_PROFILE else b""
