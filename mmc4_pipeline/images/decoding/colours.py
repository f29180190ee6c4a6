"""Converts pictures with a colour profile to sRGB, which is assumed for pictures without a profile."""

from io import BytesIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageCms

from filters.short_cache import short_cache

_PROFILE_LENGTH = 64 << 10  # bytes of a profile whose conversion is kept; nearly all have less than 4 KiB
_SAME = 3  # of 255: a profile that changes no colour by more than this is one of the many versions of sRGB
_STEPS = np.linspace(0, 255, 9).astype(np.uint8)
_SAMPLES = np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS), axis=-1).reshape(27, 27, 3)
_GREYS = np.arange(256, dtype=np.uint8).reshape(16, 16)
_MODES = {"RGB": "RGB", "GRAY": "L"}  # Pillow's for what profiles are for


def to_srgb(pixels: npt.NDArray[np.uint8], profile: bytes, colours: str) -> npt.NDArray[np.uint8]:
    """Return BGR pixels of shape (height, width, 3) with the colours of sRGB.

    `colours` are those that the picture has: "RGB" or "GRAY", or others, which are not converted. A profile that is
    empty, broken, for other colours or (nearly) sRGB changes nothing.
    """
    transform = _transform(profile, colours) if profile and colours in _MODES else None
    if transform is None:
        return pixels
    if colours == "GRAY":
        converted = _applied(transform, np.ascontiguousarray(pixels[:, :, 0]))
    else:
        converted = _applied(transform, np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8))
    return np.asarray(cv2.cvtColor(converted, cv2.COLOR_RGB2BGR), dtype=np.uint8)


@short_cache(64, _PROFILE_LENGTH)
def _transform(profile: bytes, colours: str) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion from a profile to sRGB, None if there is nothing to convert."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != colours:
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            _MODES[colours],
            "RGB",
            # As in browsers. Without its cache, a transform can be used by several threads.
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,
        )
        samples = _GREYS if colours == "GRAY" else _SAMPLES
        there = samples[..., None] if colours == "GRAY" else samples
        changed = np.abs(_applied(transform, samples).astype(np.int16) - there).max() > _SAME
    except (ImageCms.PyCMSError, OSError, ValueError):  # a broken profile; browsers ignore it
        return None
    return transform if changed else None


def _applied(transform: ImageCms.ImageCmsTransform, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(transform.apply(PillowImage.fromarray(pixels)))
