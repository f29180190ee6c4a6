"""Perceptual hashes are close to those of the imagehash package, and tell copies from other pictures."""

from collections.abc import Callable

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image as PillowImage

from mmc4_pipeline.images.decoding.phash import phash

Photo = Callable[..., np.ndarray]


def apart(one: int, other: int) -> int:
    return (one ^ other).bit_count()


@pytest.mark.parametrize("size", [(320, 240), (640, 480), (200, 333), (801, 150)])
def test_at_most_four_bits_from_imagehash(photo: Photo, size: tuple[int, int]) -> None:
    for seed in range(25):
        pixels = photo(seed, *size)
        theirs = int(str(imagehash.phash(PillowImage.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)))), 16)
        assert apart(phash(pixels), theirs) <= 4


def test_copies_have_close_hashes_and_different_pictures_do_not(photo: Photo) -> None:
    hashes = []
    for seed in range(25):
        pixels = photo(seed, 640, 480)
        own = phash(pixels)
        for quality in (90, 40):
            encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            assert apart(own, phash(cv2.imdecode(encoded, cv2.IMREAD_COLOR))) <= 5
        assert apart(own, phash(cv2.resize(pixels, (320, 240), interpolation=cv2.INTER_AREA))) <= 5
        hashes.append(own)
    assert min(apart(one, other) for one in hashes for other in hashes if one != other) > 10
    assert len(set(hashes)) == 25


def test_a_hash_is_64_bits_of_which_half_are_set(photo: Photo) -> None:
    own = phash(photo(1))
    assert 0 <= own < 1 << 64
    assert own.bit_count() == 32  # half of the 64 values are above the median


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (500, 1, 3)])
def test_tiny_pictures_have_a_hash(shape: tuple[int, int, int]) -> None:
    assert 0 <= phash(np.full(shape, 77, np.uint8)) < 1 << 64
