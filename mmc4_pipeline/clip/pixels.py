"""Decode images to the pixels that a model takes, by open_clip's own transforms or faster, nearly equal ones."""

from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torch.nn import functional
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize

from mmc4_pipeline.scoring.picture import Picture, with_pillow


class Pixels:
    """Decodes, resizes and crops images on the CPU, to uint8. The model's device normalises them.

    If `exact`, Pillow does what open_clip does. Otherwise PyTorch's vector code resizes JPEGs in half the time. Single
    values then differ by 1 of 255, which costs less accuracy than half precision does.
    """

    def __init__(self, transform: Compose, *, exact: bool) -> None:
        """Split open_clip's transforms for inference into geometry, and mean and deviation for normalising."""
        *geometry, _to_tensor, normalize = transform.transforms
        if not isinstance(normalize, Normalize):
            raise TypeError(f"not open_clip's transforms for inference: {transform}")
        self._geometry: Any = Compose(geometry)
        self._mean, self._deviation = (
            torch.tensor(values).view(1, 3, 1, 1) for values in (normalize.mean, normalize.std)
        )
        self._side = None if exact else _side_of(geometry)

    def of_file(self, file: bytes | Picture) -> torch.Tensor | None:
        """Return the pixels of an encoded image, uint8 of shape (3, height, width), or None if it cannot be decoded.

        Most of the work releases Python's global lock, so that threads decode in parallel.
        """
        picture = file if isinstance(file, Picture) else Picture(file)
        pixels = self._of_jpeg(picture) if self._side and picture.data.startswith(b"\xff\xd8") else None
        if pixels is not None:
            return pixels
        image = picture.decoded(with_pillow)
        try:
            return None if image is None else self.of_image(image)
        except (OSError, ValueError):
            return None

    def of_image(self, image: PillowImage.Image) -> torch.Tensor:
        """Return the pixels of a Pillow image, uint8 of shape (3, height, width).

        Raises ValueError if one side is more than 1000 times the other.
        """
        width, height = image.size
        side = min(width, height)
        if max(width, height) > 1000 * side:
            raise ValueError(f"{width}x{height}: resized it would take gigabytes")
        return torch.from_numpy(np.array(self._geometry(image).convert("RGB"))).permute(2, 0, 1).contiguous()

    def normalized(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the model's input, float32 of shape (images, 3, height, width), on the device of the pixels."""
        if self._mean.device != pixels.device:
            self._mean, self._deviation = self._mean.to(pixels.device), self._deviation.to(pixels.device)
        return pixels.float().div_(255).sub_(self._mean).div_(self._deviation)

    def _of_jpeg(self, picture: Picture) -> torch.Tensor | None:
        """Return the pixels of a JPEG in colour or grey, or None if Pillow has to decode it: other or damaged files."""
        side, full = self._side or 0, picture.decoded(_with_torch)
        if full is None:
            return None
        channels, height, width = full.shape
        short, long = sorted((height, width))
        if channels not in (1, 3) or long > 1000 * short:
            return None
        rows, columns = (side if length == short else side * length // short for length in (height, width))
        resized = functional.interpolate(full[None], (rows, columns), mode="bicubic", antialias=True)[0]
        # The rounding is that of torchvision's CenterCrop.
        top, left = round((rows - side) / 2), round((columns - side) / 2)
        return resized[:, top : top + side, left : left + side].expand(3, side, side).contiguous()


def _with_torch(data: bytes) -> torch.Tensor | None:
    try:
        return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.UNCHANGED)  # type: ignore[no-any-return]
    except RuntimeError:
        return None


def _side_of(geometry: list[Any]) -> int | None:
    """Return the side in pixels if the geometry is CLIP's: shorter side resized to it (bicubic), centre cropped."""
    if len(geometry) < 2 or not isinstance(geometry[0], Resize) or not isinstance(geometry[1], CenterCrop):
        return None
    resize, crop = geometry[:2]
    plain = isinstance(resize.size, int) and resize.interpolation is InterpolationMode.BICUBIC
    return resize.size if plain and tuple(crop.size) == (resize.size, resize.size) else None
