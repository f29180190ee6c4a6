"""Hostile files: pictures of all kinds, files that are not pictures, decompression bombs, and truncated files."""

import gzip
import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image as PillowImage

from schemas.reasons import Reason


def picture(width: int = 300, height: int = 200) -> PillowImage.Image:
    """Return a smooth picture that no filter drops."""
    coarse = np.random.default_rng(5).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return PillowImage.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def saved(image: PillowImage.Image, kind: str, **options: object) -> bytes:
    """Return the bytes of the saved image."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *before: bytes, depth: int = 8, rows: int = 0) -> bytes:
    """Return a transparent PNG that claims a size, with `rows` rows of zeros."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 6, 0, 0, 0))
    packer = zlib.compressobj(1)
    row = bytes(1 + width * depth // 2)
    data = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg_that_claims(width: int, height: int) -> bytes:
    """Return a complete JPEG of 16 x 16 pixels whose header claims another size."""
    body = bytearray(saved(PillowImage.new("RGB", (16, 16), (9, 9, 9)), "JPEG"))
    start = body.index(b"\xff\xc0")
    body[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(body)


def jpeg_of_scans(count: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated."""
    body = saved(picture(), "JPEG", progressive=True)
    last = body.rindex(b"\xff\xda")
    return body[:last] + body[last:-2] * count + b"\xff\xd9"


def gif_screen(width: int, height: int) -> bytes:
    """Return a GIF of one pixel on a large screen."""
    body = bytearray(saved(PillowImage.new("P", (1, 1)), "GIF"))
    body[6:10] = struct.pack("<HH", width, height)
    return bytes(body)


def webp_that_claims(width: int, height: int) -> bytes:
    """Return a lossless WebP whose header claims another size."""
    body = bytearray(saved(picture(16, 16), "WEBP", lossless=True))
    body[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14 | (body[24] & 0xF0) << 24)
    return bytes(body)


def zipped_zeros(mebibytes: int, start: bytes = b"") -> bytes:
    """Return a gzip file of this many mebibytes of zeros after a start."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0) as file:
        file.write(start)
        for _ in range(mebibytes):
            file.write(bytes(1 << 20))
    return out.getvalue()


def pictures() -> dict[str, bytes]:
    """Return pictures of all kinds that must be kept."""
    image, other = picture(), picture().rotate(180)
    transparent = image.copy()
    transparent.putalpha(128)
    turned = PillowImage.Exif()
    turned[0x0112] = 6
    both = {"save_all": True, "append_images": [other], "duration": 100}
    deep = cv2.imencode(".png", np.asarray(image).astype(np.uint16) * 257)[1].tobytes()
    return {
        "jpeg": saved(image, "JPEG"),
        "progressive jpeg": saved(image, "JPEG", progressive=True),
        "grey jpeg": saved(image.convert("L"), "JPEG"),
        "cmyk jpeg": saved(image.convert("CMYK"), "JPEG"),
        "turned jpeg": saved(image, "JPEG", exif=turned),
        "mpo": saved(image, "MPO", **both),
        "png": saved(image, "PNG"),
        "16-bit png": deep,
        "palette png": saved(image.quantize(64), "PNG", transparency=3),
        "transparent png": saved(transparent, "PNG"),
        "apng": saved(image, "PNG", **both),
        "webp": saved(image, "WEBP"),
        "lossless transparent webp": saved(transparent, "WEBP", lossless=True),
        "animated webp": saved(image, "WEBP", **both),
        "png with a text bomb": png(  # the text is never decompressed
            300, 200, chunk(b"zTXt", b"k\x00\x00" + zlib.compress(bytes(32 << 20), 1)), rows=200
        ),
        "gif": saved(image, "GIF"),
        "animated gif": saved(image, "GIF", **both),
    }


def files() -> dict[str, tuple[bytes, tuple[Reason | None, ...]]]:
    """Return files that must be dropped, with their reasons."""
    image, whole = picture(), pictures()
    others = {
        "html": b"<!DOCTYPE html><html><body>Not found</body></html>",
        "json": b'{"error": "not found"}',
        "empty": b"",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"/>',
        "svgz": gzip.compress(b'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"/>'),
        "ico": saved(image, "ICO"),
        "tiff": saved(image, "TIFF"),
        "bmp": saved(image, "BMP"),
        "psd": b"8BPS\x00\x01" + bytes(6) + struct.pack(">HIIHH", 3, 200, 300, 8, 3) + bytes(500),
        "avif": saved(image, "AVIF"),
        "pdf": saved(image, "PDF"),
        "mp4": struct.pack(">I", 24) + b"ftypisom\x00\x00\x02\x00isomiso2" + bytes(500),
        "jpeg's first bytes": b"\xff\xd8",
    }
    bombs = {
        "png of 60000 x 60000": png(60_000, 60_000),
        "png of 2^31": png(2**31 - 1, 2**31 - 1),
        "png of 9000 x 9000, transparent": png(9_000, 9_000),
        "png of 7000 x 7000, 16 bit": png(7_000, 7_000, depth=16),
        "gif on a screen of 65535 x 65535": gif_screen(65_535, 65_535),
        "webp of 16383 x 16383": webp_that_claims(16_383, 16_383),
        "jpeg of 65500 x 65500": jpeg_that_claims(65_500, 65_500),
        "jpeg of 200 scans": jpeg_of_scans(200),
    }
    lies = {
        "jpeg that lies": jpeg_that_claims(9_000, 9_000),
        "png that lies": png(5_000, 5_000, rows=10),
        "webp that lies": webp_that_claims(5_000, 5_000),
    }
    reasons = Reason.NOT_AN_IMAGE, Reason.TOO_LARGE, Reason.CORRUPT
    given: dict[str, tuple[bytes, tuple[Reason | None, ...]]] = {
        name: (body, (reason,))
        for kind, reason in zip((others, bombs, lies), reasons, strict=True)
        for name, body in kind.items()
    }
    for kind in ("jpeg", "progressive jpeg", "png", "webp", "animated webp", "gif"):
        for tenth in range(1, 10):
            body = whole[kind]
            start = body[: len(body) * tenth // 10]
            given[f"{tenth}/10 of a {kind}"] = (start, (Reason.CORRUPT, Reason.NOT_AN_IMAGE))
    return given
