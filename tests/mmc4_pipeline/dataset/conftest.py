from collections.abc import Callable
from pathlib import Path

import pytest

from mmc4_pipeline.dataset.stage_folder import StageFolder
from tests.mmc4_pipeline.dataset.planting import write_dataset


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., StageFolder]:
    """Make a dataset below the test's folder."""
    return lambda name="mmc4", **options: write_dataset(tmp_path / name, **options)
