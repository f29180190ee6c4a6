"""What BLIP's models compute on: a device with its number format, and batches that fit it."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import torch
from PIL import Image as PillowImage

from mmc4_pipeline.clip.cores import Cores, cores_for
from mmc4_pipeline.clip.engine import in_order
from mmc4_pipeline.clip.model import find_device
from mmc4_pipeline.clip.settings import Precision
from mmc4_pipeline.scoring.base import Machine
from mmc4_pipeline.scoring.picture import Picture, with_pillow
from mmc4_pipeline.scoring.shard import Place

GROUP = 64  # images that are computed together, whatever the number of cores: batches are parts of a group
Item = TypeVar("Item")
Result = TypeVar("Result")


class Prepared(NamedTuple):
    """The place of a stored image, the picture, and the model's input: None if the image can't be decoded."""

    place: Place
    picture: Picture
    pixels: torch.Tensor | None


class Device:
    """A device, the format of numbers on it, and the threads that prepare images.

    CUDA computes in half precision. A CPU computes one batch per core, so that the bytes of the results do not depend
    on the number of cores.
    """

    def __init__(self, machine: Machine) -> None:
        """Find the device."""
        self.device = torch.device(find_device(machine.device))
        self.on_cuda = self.device.type == "cuda"
        self.dtype = torch.float16 if self.on_cuda else torch.float32
        cores = cores_for(machine.processes)
        self._cores = None if self.on_cuda else Cores(cores)
        self._threads = cores if self.on_cuda else max(1, cores // 4)
        self._pool = ThreadPoolExecutor(self._threads, "prepare", torch.set_num_threads, (1,))

    @property
    def precision(self) -> Precision:
        """The number format."""
        return "fp16" if self.on_cuda else "fp32"

    @property
    def computed_in(self) -> str:
        """The number format and the device: "fp16 on cuda"."""
        return f"{self.precision} on {self.device.type}"

    def map(self, compute: Callable[[Item], Result], batches: Iterable[Item]) -> Iterator[Result]:
        """Compute batches and yield the results in their order."""
        return self._cores.map(compute, batches) if self._cores else map(compute, batches)

    def prepared(self, processor: Any, pictures: Iterable[tuple[Place, Picture]]) -> Generator[tuple[Prepared, ...]]:
        """Yield groups of `GROUP` images, prepared in threads by the image processor of transformers."""

        def prepare(item: tuple[Place, Picture]) -> Prepared:
            place, picture = item
            image = picture.decoded(with_pillow)
            return Prepared(place, picture, None if image is None else pixels_of(image, processor))

        preparing = in_order(self._pool, prepare, pictures, GROUP + self._threads)
        with closing(preparing):
            while group := tuple(islice(preparing, GROUP)):
                yield group


def pixels_of(image: PillowImage.Image, processor: Any) -> torch.Tensor:
    """Return a model's input for an image, of shape (3, height, width), as transformers' image processor makes it."""
    pixels: torch.Tensor = processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"][0]
    return pixels
