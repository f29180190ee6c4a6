"""From an encoded image to the pixels that a model sees: open_clip's own transforms, or nearly the same faster."""

from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torch.nn import functional
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize


class Pixels:
    """Decodes, resizes and crops on the CPU, to bytes; turning them into the model's numbers is left to its device.

    `exact` does what open_clip does, with Pillow. Otherwise JPEGs are resized by PyTorch's vector code, where single
    values differ by 1 of 255: less than half precision costs, and half the time.
    """

    def __init__(self, transform: Compose, *, exact: bool) -> None:
        """Take open_clip's transforms for inference apart: the geometry, and the mean and deviation to normalise by."""
        *geometry, _to_tensor, normalize = transform.transforms
        if not isinstance(normalize, Normalize):
            message = f"these are no transforms of open_clip's for inference: {transform}"
            raise TypeError(message)
        self._geometry: Any = Compose(geometry)
        self._mean, self._deviation = (
            torch.tensor(values).view(1, 3, 1, 1) for values in (normalize.mean, normalize.std)
        )
        self._side = None if exact else _side_of(geometry)

    def of_file(self, data: bytes) -> torch.Tensor | None:
        """Give the pixels of an encoded image, uint8 of shape (3, height, width); None where it can't be decoded.

        Releases Python's lock for most of the time: threads decode side by side.
        """
        pixels = self._of_jpeg(data) if self._side and data.startswith(b"\xff\xd8") else None
        if pixels is not None:
            return pixels
        try:
            with PillowImage.open(BytesIO(data)) as image:
                return self.of_image(image)
        except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError):
            return None

    def of_image(self, image: PillowImage.Image) -> torch.Tensor:
        """Give the pixels of a Pillow image, uint8 of shape (3, height, width); raises ValueError for a mere line."""
        width, height = image.size
        side = min(width, height)
        if max(width, height) > 1000 * side:
            message = f"{width}x{height}: resized it would take gigabytes"
            raise ValueError(message)
        return torch.from_numpy(np.array(self._geometry(image).convert("RGB"))).permute(2, 0, 1).contiguous()

    def normalized(self, pixels: torch.Tensor) -> torch.Tensor:
        """Give what the model takes, float32 of shape (images, 3, height, width), on the device of the pixels."""
        if self._mean.device != pixels.device:
            self._mean, self._deviation = self._mean.to(pixels.device), self._deviation.to(pixels.device)
        return pixels.float().div_(255).sub_(self._mean).div_(self._deviation)

    def _of_jpeg(self, data: bytes) -> torch.Tensor | None:
        """Decode and resize a JPEG in colour or grey; None leaves it to Pillow, what is damaged too."""
        side = self._side or 0
        try:
            full = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.UNCHANGED)
        except RuntimeError:
            return None
        channels, height, width = full.shape
        short, long = sorted((height, width))
        if channels not in (1, 3) or long > 1000 * short:
            return None
        rows, columns = (side if length == short else side * length // short for length in (height, width))
        resized = functional.interpolate(full[None], (rows, columns), mode="bicubic", antialias=True)[0]
        # As torchvision's CenterCrop rounds.
        top, left = round((rows - side) / 2), round((columns - side) / 2)
        return resized[:, top : top + side, left : left + side].expand(3, side, side).contiguous()


def _side_of(geometry: list[Any]) -> int | None:
    """Give the side in pixels where the geometry is CLIP's: bicubic, shorter side to it, centre of the longer."""
    if len(geometry) < 2 or not isinstance(geometry[0], Resize) or not isinstance(geometry[1], CenterCrop):
        return None
    resize, crop = geometry[:2]
    plain = isinstance(resize.size, int) and resize.interpolation is InterpolationMode.BICUBIC
    return resize.size if plain and tuple(crop.size) == (resize.size, resize.size) else None
