"""Pictures similar to photographs: smooth, with large shapes, and different for each seed."""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.mmc4_pipeline.images.site import Site, serving_site

Pixels = npt.NDArray[np.uint8]


def photograph(seed: int, width: int = 320, height: int = 240) -> Pixels:
    """Return a smooth random BGR picture."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 8, 3)).astype(np.float32)
    fine = random.integers(0, 256, (24, 32, 3)).astype(np.float32)
    smooth = [cv2.resize(layer, (width, height), interpolation=cv2.INTER_CUBIC) for layer in (coarse, fine)]
    return np.clip(0.8 * smooth[0] + 0.2 * smooth[1], 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def photo() -> object:
    return photograph


@pytest.fixture
def site() -> Iterator[Site]:
    """Serve files in a separate thread."""
    with serving_site() as site:
        yield site
