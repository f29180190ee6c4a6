"""Colour profiles: pictures that are stored anew look as in a browser."""

import io

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageCms

from tests.mmc4_pipeline.images.decoding.files import ADOBE_RGB, DISPLAY_P3, LINEAR_GREY
from tests.mmc4_pipeline.images.decoding.pictures import Photo, decoded, near, pillow, saved, stored

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PROFILES = {"Display P3": DISPLAY_P3, "Adobe RGB": ADOBE_RGB}


def saturated(photo: Photo, width: int, height: int) -> np.ndarray:
    """Return a picture in whose colours a profile matters."""
    pixels = photo(7, width, height).astype(np.int16)
    return np.clip((pixels - pixels.mean(axis=2, keepdims=True)) * 3 + 128, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("kind", "size"), [("JPEG", (1000, 700)), ("PNG", (300, 200)), ("WEBP", (300, 200))])
def test_wide_gamuts_are_converted(photo: Photo, profile: str, kind: str, size: tuple[int, int]) -> None:
    image = pillow(saturated(photo, *size))
    icc = PROFILES[profile]
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    result = decoded(saved(image, kind, icc_profile=icc, **options))
    there = PillowImage.open(io.BytesIO(result.jpeg))
    assert "icc_profile" not in there.info
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
    expected = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    assert near(np.asarray(expected.resize(there.size, PillowImage.Resampling.BOX)), stored(result))
    assert not near(np.asarray(image.resize(there.size, PillowImage.Resampling.BOX)), stored(result))


@pytest.mark.parametrize(("kind", "size"), [("JPEG", (1000, 700)), ("PNG", (300, 200))])
def test_greys_are_converted(photo: Photo, kind: str, size: tuple[int, int]) -> None:
    image = pillow(photo(6, *size)).convert("L")
    result = decoded(saved(image, kind, icc_profile=LINEAR_GREY))
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(LINEAR_GREY)), ImageCms.createProfile("sRGB")
    expected = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    there = PillowImage.open(io.BytesIO(result.jpeg)).size
    assert near(np.asarray(expected.resize(there, PillowImage.Resampling.BOX)), stored(result))
    assert not near(np.asarray(image.convert("RGB").resize(there, PillowImage.Resampling.BOX)), stored(result))


@pytest.mark.parametrize("profile", [SRGB, b"", b"no profile", SRGB[:200], DISPLAY_P3[:150], bytes(5_000), LINEAR_GREY])
def test_other_profiles_change_nothing(photo: Photo, profile: bytes) -> None:
    image = pillow(saturated(photo, 300, 200))
    assert decoded(saved(image, "PNG", icc_profile=profile)).jpeg == decoded(saved(image, "PNG")).jpeg


def test_an_original_keeps_its_profile(photo: Photo) -> None:
    body = saved(pillow(photo(8, 300, 200)), "JPEG", icc_profile=DISPLAY_P3)
    assert decoded(body).jpeg == body


def test_a_profile_in_several_parts_is_joined(photo: Photo) -> None:
    image = pillow(saturated(photo, 1000, 700))
    long = DISPLAY_P3 + bytes(150_000)  # Pillow writes three segments
    body = saved(image, "JPEG", icc_profile=long)
    assert body.count(b"ICC_PROFILE\0") == 3
    assert decoded(body).jpeg == decoded(saved(image, "JPEG", icc_profile=DISPLAY_P3)).jpeg


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_profile_for_other_colours_is_ignored(photo: Photo, mode: str) -> None:
    image = pillow(photo(9, 1000, 700)).convert(mode)
    assert decoded(saved(image, "JPEG", icc_profile=DISPLAY_P3)).phash == decoded(saved(image, "JPEG")).phash
