"""Decoding: images of every kind keep their picture, size and orientation."""

import io

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image as PillowImage

from mmc4_pipeline.recipe import ImageSettings
from tests.mmc4_pipeline.images.decoding.pictures import (
    KINDS,
    MAKERS,
    Photo,
    decoded,
    near,
    pillow,
    saved,
    stored,
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_its_picture(photo: Photo, kind: str) -> None:
    image = pillow(photo(3, 300, 200))
    result = decoded(MAKERS[kind](image))
    formats = {"progressive": "jpeg", "mpo": "jpeg"}
    assert result.format == formats.get(kind, kind.rpartition(" ")[2])
    assert (result.width, result.height) == (300, 200)
    expected = np.asarray((image.convert("L") if "grey" in kind else image).convert("RGB"))
    assert near(stored(result), expected, most=12 if kind in ("gif", "palette png") else 4)


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
        6: PillowImage.Transpose.ROTATE_90,  # stored turned counter-clockwise, so that viewers turn it clockwise
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


def test_transparent_parts_are_white(photo: Photo) -> None:
    rgba = np.dstack([cv2.cvtColor(photo(7, 300, 200), cv2.COLOR_BGR2RGB), np.full((200, 300), 255, np.uint8)])
    rgba[:100, :, 3] = 0
    rgba[100:150, :, 3] = 128
    image = PillowImage.fromarray(rgba)
    flat = PillowImage.alpha_composite(PillowImage.new("RGBA", image.size, "white"), image).convert("RGB")
    for body in (saved(image, "PNG"), saved(image, "WEBP", lossless=True, exact=True)):
        assert near(stored(decoded(body)), np.asarray(flat))


def test_transparent_palette_and_grey_pictures_are_on_white_too() -> None:
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
def test_the_longest_side_of_stored_images_is_limited(
    photo: Photo, kind: str, size: tuple[int, int], max_side: int, kept: tuple[int, int]
) -> None:
    result = decoded(saved(pillow(photo(9, *size)), kind), ImageSettings(max_side, 90))
    assert (result.width, result.height) == size  # as received
    height, width = stored(result).shape[:2]
    assert max(width, height) <= max_side
    assert abs(width - kept[0]) <= 1
    assert abs(height - kept[1]) <= 1


def test_only_small_upright_baseline_jpegs_are_stored_unchanged(photo: Photo) -> None:
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


def jpeg_of_four(photo: np.ndarray, *, ycck: bool) -> bytes:
    """Return a CMYK JPEG as Adobe writes it (inverted), or the same as YCCK, which Pillow can only read."""
    cmyk = np.asarray(pillow(photo).convert("CMYK")).copy()
    cmyk[:, :, 3] = np.linspace(0, 120, photo.shape[1], dtype=np.uint8)
    if not ycck:
        return saved(PillowImage.fromarray(cmyk, "CMYK"), "JPEG", quality=95)
    luma = np.asarray(PillowImage.fromarray(cmyk[:, :, :3], "RGB").convert("YCbCr"))
    body = saved(PillowImage.fromarray(np.dstack([255 - luma, cmyk[:, :, 3]]), "CMYK"), "JPEG", quality=95)
    place = body.index(b"Adobe") + 11  # the transform in its APP14 segment: 0 CMYK, 2 YCCK
    return body[:place] + b"\x02" + body[place + 1 :]


def rendered(body: bytes) -> np.ndarray:
    """Return a file's RGB pixels on white, as decoded by Pillow."""
    image = PillowImage.open(io.BytesIO(body)).convert("RGBA")
    return np.asarray(PillowImage.alpha_composite(PillowImage.new("RGBA", image.size, "white"), image).convert("RGB"))


def odd_kinds(photo: np.ndarray) -> dict[str, bytes]:
    """Return files of rare kinds."""
    image = pillow(photo)
    alpha = np.tile(np.linspace(0, 255, photo.shape[1], dtype=np.uint8), (photo.shape[0], 1))
    clear = image.copy()
    clear.putalpha(PillowImage.fromarray(alpha))
    other = PillowImage.fromarray(255 - np.asarray(image))
    both = {"save_all": True, "append_images": [other], "duration": 100}
    clear_both = {**both, "append_images": [other.convert("RGBA")]}
    palette, four, grey = image.quantize(200, dither=0), image.quantize(4, dither=0), image.convert("L")
    middle = (photo.shape[1] // 2, photo.shape[0] // 2)
    return {
        "cmyk": jpeg_of_four(photo, ycck=False),
        "ycck": jpeg_of_four(photo, ycck=True),
        "rgb jpeg": saved(image, "JPEG", quality=95, keep_rgb=True),
        "animated gif": saved(image, "GIF", **both),
        "transparent gif": saved(clear, "GIF"),
        "animated transparent gif": saved(clear, "GIF", **clear_both, disposal=2),
        "animated webp": saved(image, "WEBP", **both),
        "animated transparent webp": saved(clear, "WEBP", **clear_both, lossless=True),
        "transparent webp": saved(clear, "WEBP", quality=95),
        "apng": saved(image, "PNG", **both),
        "transparent apng": saved(clear, "PNG", **clear_both),
        "palette, one transparent": saved(palette, "PNG", transparency=5),
        "palette, all with some transparency": saved(palette, "PNG", transparency=bytes(range(200))),
        "palette of four": saved(four, "PNG", bits=2, transparency=bytes([0, 100, 200, 255])),
        "grey and alpha": saved(clear.convert("LA"), "PNG"),
        "grey, one transparent": saved(grey, "PNG", transparency=grey.getpixel(middle)),
        "colour, one transparent": saved(image, "PNG", transparency=image.getpixel(middle)),
        "black and white": saved(image.convert("1", dither=0), "PNG"),
    }


ODD_KINDS = list(odd_kinds(np.zeros((8, 8, 3), np.uint8)))


@pytest.fixture(scope="module")
def odd_photos(photo: Photo) -> dict[str, bytes]:
    return odd_kinds(photo(3, 300, 200))


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_rare_kinds_look_as_in_pillow(odd_photos: dict[str, bytes], kind: str) -> None:
    body = odd_photos[kind]
    result = decoded(body, ImageSettings(800, 97))
    expected = rendered(body)
    assert near(stored(result), expected, most=4)
    assert near(cv2.cvtColor(result.pixels, cv2.COLOR_BGR2RGB), expected, most=1.5)


@pytest.mark.parametrize("size", [(1001, 700), (1601, 1203), (2399, 1601), (3300, 500)])
def test_decoding_at_a_fraction_looks_like_reducing_the_whole_image(photo: Photo, size: tuple[int, int]) -> None:
    image = pillow(photo(9, *size))
    body = saved(image, "JPEG", quality=95)
    for max_side in (1000, 400, 150):
        result = decoded(body, ImageSettings(max_side, 95))
        height, width = result.pixels.shape[:2]
        expected = np.asarray(image.resize((width, height), PillowImage.Resampling.LANCZOS))
        assert (max(width, height), round(width * size[1] / size[0]) - height) == (max_side, 0)
        assert near(cv2.cvtColor(result.pixels, cv2.COLOR_BGR2RGB), expected, most=2.5)


def test_pixels_are_those_of_the_stored_jpeg(photo: Photo) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    for body in (saved(pillow(photo(2, 300, 200)), "JPEG"), saved(pillow(photo(2, 1300, 900)), "JPEG", exif=exif)):
        result = decoded(body)
        assert result.pixels.dtype == np.uint8
        assert near(cv2.cvtColor(result.pixels, cv2.COLOR_BGR2RGB), stored(result), most=2)


@pytest.mark.parametrize("size", [(160, 200), (640, 480), (1300, 801), (2500, 1700)])
@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_the_hash_is_at_most_four_bits_from_imagehash(photo: Photo, size: tuple[int, int], kind: str) -> None:
    for seed in range(5):
        body = MAKERS[kind](pillow(photo(seed, *size)))
        theirs = int(str(imagehash.phash(PillowImage.open(io.BytesIO(body)))), 16)
        assert (decoded(body).phash ^ theirs).bit_count() <= 4
