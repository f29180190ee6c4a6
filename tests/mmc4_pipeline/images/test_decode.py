"""Decoding: what the web calls an image, in every form in which it comes, whole and broken."""

import io
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from mmc4_pipeline.images.decode import Decoded, Undecodable, decode
from mmc4_pipeline.recipe import ImageSettings
from schemas.reasons import Reason

SETTINGS = ImageSettings(max_side=800, jpeg_quality=90)
Photo = Callable[..., np.ndarray]


def pillow(pixels: np.ndarray) -> PillowImage.Image:
    return PillowImage.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def saved(image: PillowImage.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def decoded(body: bytes, settings: ImageSettings = SETTINGS) -> Decoded:
    result = decode(body, settings)
    assert isinstance(result, Decoded), result
    return result


def stored(result: Decoded) -> np.ndarray:
    """Give the stored JPEG's RGB pixels, as another program sees them."""
    image = PillowImage.open(io.BytesIO(result.jpeg))
    assert image.format == "JPEG"
    return np.asarray(image.convert("RGB"), dtype=np.int16)


def near(pixels: np.ndarray, other: np.ndarray, most: float = 4) -> bool:
    """Tell whether two RGB pictures look the same."""
    return pixels.shape == other.shape and float(np.abs(pixels.astype(np.int16) - other).mean()) <= most


MAKERS: dict[str, Callable[[PillowImage.Image], bytes]] = {
    "jpeg": lambda image: saved(image, "JPEG", quality=92),
    "progressive": lambda image: saved(image, "JPEG", quality=92, progressive=True),
    "png": lambda image: saved(image, "PNG"),
    "webp": lambda image: saved(image, "WEBP", lossless=True, method=0),
    "lossy webp": lambda image: saved(image, "WEBP", method=0),
    "gif": lambda image: saved(image, "GIF"),
    "palette png": lambda image: saved(image.quantize(256), "PNG"),
    "rgba png": lambda image: saved(image.convert("RGBA"), "PNG"),
    "grey png": lambda image: saved(image.convert("L"), "PNG"),
    "mpo": lambda image: saved(image, "MPO", save_all=True, append_images=[image.rotate(180)]),
}
KINDS = list(MAKERS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_its_picture(photo: Photo, kind: str) -> None:
    image = pillow(photo(3, 300, 200))
    result = decoded(MAKERS[kind](image))
    formats = {"progressive": "jpeg", "mpo": "jpeg"}
    assert result.format == formats.get(kind, kind.rpartition(" ")[2])
    assert (result.width, result.height) == (300, 200)
    expected = np.asarray((image.convert("L") if "grey" in kind else image).convert("RGB"))
    assert near(stored(result), expected, most=12 if kind in ("gif", "palette png") else 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_short_is_never_accepted(photo: Photo, kind: str) -> None:
    body = MAKERS[kind](pillow(photo(4, 300, 200)))
    if kind == "mpo":  # its first picture is a whole one
        body = body[: body.index(b"\xff\xd9\xff\xd8")]
    for tenth in range(10):
        result = decode(body[: len(body) * tenth // 10], SETTINGS)
        assert isinstance(result, Undecodable), f"{tenth}/10 of the bytes"
        assert result.reason in (Reason.CORRUPT, Reason.NOT_AN_IMAGE)


def test_the_end_mark_of_a_thumbnail_does_not_hide_that_the_picture_is_cut(photo: Photo) -> None:
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


def test_fill_bytes_before_a_marker_are_no_damage(photo: Photo) -> None:
    body = saved(pillow(photo(5, 300, 200)), "JPEG")
    filled = body[:2] + b"\xff\xff" + body[2:]  # ITU T.81, B.1.1.2
    assert (decoded(filled).width, decoded(filled).height) == (300, 200)


def test_bytes_after_the_end_are_no_damage(photo: Photo) -> None:
    for kind, make in MAKERS.items():
        body = make(pillow(photo(5, 300, 200)))
        assert isinstance(decode(body + b"\n<!-- served by -->", SETTINGS), Decoded), kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("max_side", [800, 150])
def test_exif_orientation_turns_pixels_and_sizes_alike(
    photo: Photo, kind: str, orientation: int, max_side: int
) -> None:
    upright = pillow(photo(6, 300, 200))
    turns = {
        1: None,
        2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
        3: PillowImage.Transpose.ROTATE_180,
        4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
        5: PillowImage.Transpose.TRANSPOSE,
        6: PillowImage.Transpose.ROTATE_90,  # what the viewer turns clockwise lies turned the other way
        7: PillowImage.Transpose.TRANSVERSE,
        8: PillowImage.Transpose.ROTATE_270,
    }
    turn = turns[orientation]
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True, "method": 0} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    body = saved(upright.transpose(turn) if turn is not None else upright, kind, exif=exif, **options)
    result = decoded(body, ImageSettings(max_side, 95))
    assert (result.width, result.height) == (300, 200)
    expected = upright if max_side == 800 else upright.resize((150, 100), PillowImage.Resampling.BOX)
    assert near(stored(result), np.asarray(expected))


def test_an_odd_orientation_is_upright(photo: Photo) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 99
    result = decoded(saved(pillow(photo(6, 300, 200)), "JPEG", exif=exif))
    assert (result.width, result.height) == (300, 200)


@pytest.mark.parametrize("exif", [b"Exif\x00\x00", b"Exif\x00\x00no TIFF header at all", b"\x00" * 40])
def test_broken_exif_data_costs_no_image(photo: Photo, exif: bytes) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        result = decoded(saved(pillow(photo(6, 300, 200)), kind, exif=exif))
        assert (result.width, result.height) == (300, 200)


def test_what_is_transparent_is_white(photo: Photo) -> None:
    rgba = np.dstack([cv2.cvtColor(photo(7, 300, 200), cv2.COLOR_BGR2RGB), np.full((200, 300), 255, np.uint8)])
    rgba[:100, :, 3] = 0
    rgba[100:150, :, 3] = 128
    image = PillowImage.fromarray(rgba)
    flat = PillowImage.alpha_composite(PillowImage.new("RGBA", image.size, "white"), image).convert("RGB")
    for body in (saved(image, "PNG"), saved(image, "WEBP", lossless=True, exact=True)):
        assert near(stored(decoded(body)), np.asarray(flat))


def test_transparent_palettes_and_greys_are_on_white_too() -> None:
    palette = PillowImage.new("P", (200, 200), 0)
    palette.putpalette([10, 20, 30, 200, 0, 0])
    palette.paste(1, (0, 0, 200, 100))
    grey = PillowImage.new("LA", (200, 200), (40, 0))
    pixels = stored(decoded(saved(palette, "PNG", transparency=0)))
    assert near(pixels[:90], np.full((90, 200, 3), (200, 0, 0)))
    assert near(pixels[110:], np.full((90, 200, 3), 255))
    assert near(stored(decoded(saved(grey, "PNG"))), np.full((200, 200, 3), 255))


def test_16_bit_pictures_keep_their_brightness() -> None:
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (200, 1))
    body = cv2.imencode(".png", ramp)[1].tobytes()
    assert near(stored(decoded(body)), np.repeat((ramp >> 8)[:, :, None], 3, axis=2))
    colour = np.dstack([ramp, ramp[:, ::-1], np.full_like(ramp, 30000)])  # blue, green, red
    expected = np.dstack([colour[:, :, 2], colour[:, :, 1], colour[:, :, 0]]) >> 8
    assert near(stored(decoded(cv2.imencode(".png", colour)[1].tobytes())), expected)


@pytest.mark.parametrize("mode", ["CMYK", "L", "1"])
def test_other_colour_spaces(photo: Photo, mode: str) -> None:
    image = pillow(photo(8, 300, 200)).convert(mode)
    body = saved(image, "PNG" if mode == "1" else "JPEG")
    result = decoded(body)
    assert near(stored(result), np.asarray(image.convert("RGB")), most=6)


@pytest.mark.parametrize(
    ("size", "max_side", "kept"),
    [
        ((801, 400), 800, (800, 400)),
        ((400, 1700), 800, (188, 800)),
        ((2000, 1500), 200, (200, 150)),
        ((1000, 3), 100, (100, 1)),
        ((800, 800), 800, (800, 800)),
        ((90, 60), 800, (90, 60)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_longest_side_of_what_is_stored_is_bounded(
    photo: Photo, kind: str, size: tuple[int, int], max_side: int, kept: tuple[int, int]
) -> None:
    result = decoded(saved(pillow(photo(9, *size)), kind), ImageSettings(max_side, 90))
    assert (result.width, result.height) == size  # as received
    height, width = stored(result).shape[:2]
    assert max(width, height) <= max_side
    assert abs(width - kept[0]) <= 1
    assert abs(height - kept[1]) <= 1


def test_only_small_upright_baseline_jpegs_are_stored_as_they_came(photo: Photo) -> None:
    image = pillow(photo(10, 300, 200))
    turned = PillowImage.Exif()
    turned[0x0112] = 3
    plain = saved(image, "JPEG")
    grey = saved(image.convert("L"), "JPEG")
    for body in (plain, grey):
        assert decoded(body).jpeg == body
    again = [
        saved(image, "JPEG", progressive=True),
        saved(image, "JPEG", exif=turned),
        saved(image.convert("CMYK"), "JPEG"),
        saved(image, "PNG"),
    ]
    for body in again:
        jpeg = decoded(body).jpeg
        assert jpeg != body
        reread = PillowImage.open(io.BytesIO(jpeg))
        assert reread.mode == "RGB"
        assert "progressive" not in reread.info
        assert not reread.getexif()
    assert decoded(plain, ImageSettings(250, 90)).jpeg != plain


def test_the_same_bytes_give_the_same_jpeg(photo: Photo) -> None:
    body = saved(pillow(photo(11, 900, 600)), "PNG")
    assert decoded(body) == decoded(body)


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
def test_what_is_none_of_the_formats_is_no_image(body: bytes) -> None:
    result = decode(body, SETTINGS)
    assert isinstance(result, Undecodable)
    assert result.reason is Reason.NOT_AN_IMAGE


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\x00" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (20_000, 20_000), (1_000_000, 1_000_000)])
def test_a_bomb_is_refused_by_its_header_alone(width: int, height: int) -> None:
    bomb = png_that_claims(width, height)
    tracemalloc.start()
    try:
        result = decode(bomb, SETTINGS)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    assert isinstance(result, Undecodable)
    assert result.reason is Reason.TOO_LARGE


def test_a_large_image_that_is_still_allowed_warns_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = decode(png_that_claims(9_500, 10_000)[:200], SETTINGS)
    assert isinstance(result, Undecodable)
    assert result.reason is Reason.CORRUPT


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
