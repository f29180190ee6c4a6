"""Refusing: files that are damaged, too large, or not images."""

import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from mmc4_pipeline.images.decoding.decode import Decoded, decode
from mmc4_pipeline.images.decoding.header import Undecodable
from schemas.reasons import Reason
from tests.mmc4_pipeline.images.decoding.pictures import KINDS, MAKERS, SETTINGS, Photo, decoded, pillow, saved


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_never_accepted(photo: Photo, kind: str) -> None:
    body = MAKERS[kind](pillow(photo(4, 300, 200)))
    if kind == "mpo":  # its first picture is a complete one
        body = body[: body.index(b"\xff\xd9\xff\xd8")]
    for tenth in range(10):
        result = decode(body[: len(body) * tenth // 10], SETTINGS)
        assert isinstance(result, Undecodable), f"{tenth}/10 of the bytes"
        assert result.reason in (Reason.CORRUPT, Reason.NOT_AN_IMAGE)


def test_the_end_mark_of_a_thumbnail_does_not_hide_that_the_picture_is_truncated(photo: Photo) -> None:
    image = pillow(photo(5, 300, 200))
    thumbnail = saved(image.resize((60, 40)), "JPEG")
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00" + thumbnail
    body = saved(image, "JPEG", exif=exif)
    assert thumbnail in body
    assert isinstance(decode(body, SETTINGS), Decoded)
    for share in (0.6, 0.8, 0.99):
        result = decode(body[: int(len(body) * share)], SETTINGS)
        assert isinstance(result, Undecodable)
        assert result.reason is Reason.CORRUPT


def test_fill_bytes_before_a_marker_are_accepted(photo: Photo) -> None:
    body = saved(pillow(photo(5, 300, 200)), "JPEG")
    filled = body[:2] + b"\xff\xff" + body[2:]  # ITU T.81, B.1.1.2
    assert (decoded(filled).width, decoded(filled).height) == (300, 200)


def test_bytes_after_the_end_are_accepted(photo: Photo) -> None:
    for kind, make in MAKERS.items():
        body = make(pillow(photo(5, 300, 200)))
        assert isinstance(decode(body + b"\n<!-- served by -->", SETTINGS), Decoded), kind


@pytest.mark.parametrize("exif", [b"Exif\x00\x00", b"Exif\x00\x00no TIFF header at all", b"\x00" * 40])
def test_an_image_with_broken_exif_data_is_kept(photo: Photo, exif: bytes) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        result = decoded(saved(pillow(photo(6, 300, 200)), kind, exif=exif))
        assert (result.width, result.height) == (300, 200)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!DOCTYPE html><html><body>Not found</body></html>",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"/>',
        b"\x00" * 1000,
        b"%PDF-1.4",
        b"\xff\xd8",
        saved(PillowImage.new("RGB", (200, 200)), "TIFF"),
        saved(PillowImage.new("RGB", (200, 200)), "BMP"),
    ],
)
def test_other_formats_are_not_images(body: bytes) -> None:
    result = decode(body, SETTINGS)
    assert isinstance(result, Undecodable)
    assert result.reason is Reason.NOT_AN_IMAGE


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\x00" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (20_000, 20_000), (1_000_000, 1_000_000)])
def test_a_decompression_bomb_is_refused_by_its_header_alone(width: int, height: int) -> None:
    bomb = png_that_claims(width, height)
    tracemalloc.start()
    try:
        result = decode(bomb, SETTINGS)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    assert isinstance(result, Undecodable)
    assert result.reason is Reason.TOO_LARGE


def jpeg_that_claims(body: bytes, width: int, height: int) -> bytes:
    """Change the size in a JPEG's frame header, baseline or progressive."""
    start = next(body.index(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in body)
    return body[: start + 5] + struct.pack(">HH", height, width) + body[start + 9 :]


def test_a_large_image_that_is_allowed_causes_no_warning() -> None:
    small = saved(PillowImage.new("L", (16, 16)), "JPEG")
    body = jpeg_that_claims(small[:-2] + bytes(400_000) + small[-2:], 9_500, 10_000)
    program = """
import sys
from mmc4_pipeline.images.decoding.decode import decode
from mmc4_pipeline.recipe import ImageSettings
result = decode(sys.stdin.buffer.read(), ImageSettings(800, 90))
print(result.width, result.height)
"""
    done = subprocess.run([sys.executable, "-c", program], input=body, capture_output=True, check=True)
    assert done.stdout.split() == [b"9500", b"10000"]
    assert b"Warning" not in done.stderr


def test_an_image_that_would_take_too_much_memory_is_refused_by_its_header_alone() -> None:
    gif = bytearray(saved(PillowImage.new("P", (9, 9)), "GIF"))
    gif[6:10] = struct.pack("<HH", 7_000, 7_000)
    for body in (png_that_claims(7_000, 7_000), bytes(gif)):
        result = decode(body, SETTINGS)
        assert isinstance(result, Undecodable)
        assert result.reason is Reason.TOO_LARGE
        assert "MB to decode" in result.error


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_claims_more_than_its_bytes_can_hold_is_corrupt(*, progressive: bool) -> None:
    flat = PillowImage.new("L", (2_000, 1_500), 77)
    body = saved(flat, "JPEG", progressive=progressive, optimize=True)  # two bits per block, or hardly more than one
    assert isinstance(decode(body, SETTINGS), Decoded)
    result = decode(jpeg_that_claims(body, 8_000, 6_000), SETTINGS)
    assert isinstance(result, Undecodable)
    assert (result.reason, "can't hold" in result.error) == (Reason.CORRUPT, True)


def test_a_jpeg_of_endless_scans_is_refused(photo: Photo) -> None:
    body = saved(pillow(photo(3, 300, 200)), "JPEG", progressive=True)
    last = body.rindex(b"\xff\xda")
    assert isinstance(decode(body[:last] + body[last:-2] * 50 + b"\xff\xd9", SETTINGS), Decoded)
    result = decode(body[:last] + body[last:-2] * 200 + b"\xff\xd9", SETTINGS)
    assert isinstance(result, Undecodable)
    assert result.reason is Reason.TOO_LARGE


STARTS = [b"", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"GIF89a", b"RIFF"]


@given(st.sampled_from(STARTS), st.binary(max_size=300))
def test_no_bytes_raise(start: bytes, rest: bytes) -> None:
    assert isinstance(decode(start + rest, SETTINGS), Decoded | Undecodable)


@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_raises(photo: Photo, kind: str) -> None:
    body = MAKERS[kind](pillow(photo(12, 60, 40)))
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(body)
        for place in random.integers(0, len(body), 3):
            damaged[place] = int(random.integers(0, 256))
        assert isinstance(decode(bytes(damaged), SETTINGS), Decoded | Undecodable)
