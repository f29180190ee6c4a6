"""Image files put together by hand, with parts that no encoder would write."""

import struct
import zlib

import cv2
import numpy as np


def chunk(kind: bytes, data: bytes = b"", crc: int | None = None) -> bytes:
    """Return a chunk of a PNG."""
    return (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)
    )


def png(pixels: np.ndarray, *before: bytes, end: bytes = chunk(b"IEND")) -> bytes:
    """Return a PNG of BGR pixels, with further chunks before the picture data."""
    height, width = pixels.shape[:2]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = b"".join(b"\0" + row.tobytes() for row in pixels[:, :, ::-1])
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + chunk(b"IDAT", zlib.compress(rows)) + end


def jpeg(pixels: np.ndarray, quality: int = 90) -> bytes:
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def segment(marker: int, data: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def after_start(body: bytes, added: bytes) -> bytes:
    """Put bytes after the start mark of a JPEG."""
    return body[:2] + added + body[2:]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a WebP of these chunks."""
    data = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2) for kind, part in chunks
    )
    return b"RIFF" + struct.pack("<I", len(data)) + data


def webp(pixels: np.ndarray, *others: tuple[bytes, bytes]) -> bytes:
    """Return an extended WebP of BGR pixels with further chunks around the picture; all flags of metadata are set."""
    body = bytes(cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, 90])[1])
    height, width = pixels.shape[:2]
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    kind, length = body[12:16], struct.unpack("<I", body[16:20])[0]
    return riff((b"VP8X", bytes([0x2C, 0, 0, 0]) + size), *others, (kind, body[20 : 20 + length]))


def tiff(size: int, entries: int) -> bytes:
    """Return EXIF data of a size whose directory has entries that each point at all of it."""
    head = b"MM\x00*" + struct.pack(">LH", 8, entries)
    each = b"".join(struct.pack(">HHLL", tag, 7, size - 8, 8) for tag in range(1, entries + 1))
    return (head + each + bytes(4)).ljust(size, b"\0")


def profile(*primaries: tuple[float, ...], gamma: float = 2.2) -> bytes:
    """Return an ICC profile of a display with these primaries (XYZ, relative to D50), for greys if there are none."""

    def fixed(*numbers: float) -> bytes:
        return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + fixed(*values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    white = (0.9642, 1.0, 0.8249)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78),
        b"cprt": b"text\0\0\0\0x\0",
        b"wtpt": xyz(white),
        **{name: xyz(value) for name, value in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=False)},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC") if primaries else (b"kTRC",), curve),
    }
    table, data = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(value))
        data += value + b"\0" * (-len(value) % 4)
    head = struct.pack(">I", 128 + len(table) + len(data)) + b"lcms\x02\x10\0\0mntr%bXYZ " % (
        b"RGB " if primaries else b"GRAY"
    )
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(*white)
    return head.ljust(128, b"\0") + table + data


DISPLAY_P3 = profile((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
ADOBE_RGB = profile((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
LINEAR_GREY = profile(gamma=1.0)
