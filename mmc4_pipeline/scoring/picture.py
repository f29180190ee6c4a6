"""A stored image, which several scorers may look at."""

from collections.abc import Callable
from io import BytesIO
from threading import Lock
from typing import Any, TypeVar

from PIL import Image as PillowImage

Decoded = TypeVar("Decoded")


class Picture:
    """The bytes of a stored image. Each way of decoding them is used once, however many scorers ask for it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._decoded: dict[Callable[[bytes], Any], Any] = {}
        self._lock = Lock()

    def decoded(self, decode: Callable[[bytes], Decoded]) -> Decoded:
        """Return what `decode` makes of the bytes; don't change it. Threads may ask at the same time."""
        with self._lock:
            if decode not in self._decoded:
                self._decoded[decode] = decode(self.data)
            return self._decoded[decode]  # type: ignore[no-any-return]


def with_pillow(data: bytes) -> PillowImage.Image | None:
    """Return an image decoded by Pillow, None if it can't be decoded. To be given to `Picture.decoded`."""
    try:
        image = PillowImage.open(BytesIO(data))
        image.load()
    except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError):
        return None
    return image
