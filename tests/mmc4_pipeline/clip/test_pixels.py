"""Pixels: equal to those of open_clip's transforms, exactly or except for the last bit."""

import io

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image as PillowImage

from mmc4_pipeline.clip.pixels import Pixels

TRANSFORM = image_transform_v2(PreprocessCfg(size=64), is_train=False)
EXACT, FAST = Pixels(TRANSFORM, exact=True), Pixels(TRANSFORM, exact=False)


def encoded(width: int, height: int, mode: str = "RGB", kind: str = "JPEG", **settings: object) -> bytes:
    noise = np.random.default_rng(width).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3)).astype(np.uint8)
    image = PillowImage.fromarray(noise).resize((width, height), PillowImage.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


FILES = [
    encoded(200, 150),
    encoded(150, 201),
    encoded(65, 64),
    encoded(64, 64),
    encoded(33, 47),
    encoded(90, 90, "L"),
    encoded(120, 90, "CMYK"),
    encoded(160, 120, progressive=True),
    encoded(160, 120, subsampling=0, quality=100),
    encoded(100, 80, kind="PNG"),
    encoded(3, 700),
]


@pytest.mark.parametrize("data", FILES)
def test_exact_pixels_are_open_clip_s(data: bytes) -> None:
    pixels = EXACT.of_file(data)
    assert pixels is not None
    with PillowImage.open(io.BytesIO(data)) as image:
        assert torch.equal(EXACT.normalized(pixels[None])[0], TRANSFORM(image))


@pytest.mark.parametrize("data", FILES)
def test_fast_pixels_differ_by_a_single_level_here_and_there(data: bytes) -> None:
    exact, fast = EXACT.of_file(data), FAST.of_file(data)
    assert exact is not None
    assert fast is not None
    assert (fast.dtype, fast.shape) == (torch.uint8, (3, 64, 64))
    difference = (exact.int() - fast.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.05


@pytest.mark.parametrize("pixels", [EXACT, FAST])
def test_what_cannot_be_decoded_is_none(pixels: Pixels) -> None:
    whole = encoded(200, 150)
    huge = bytearray(whole)
    place = huge.index(b"\xff\xc0") + 5
    huge[place : place + 4] = b"\xff\xff\xff\xff"  # 65,535 x 65,535
    for data in (b"", b"garbage", b"\xff\xd8garbage", whole[: len(whole) // 2], bytes(huge), encoded(1, 5000)):
        assert pixels.of_file(data) is None
