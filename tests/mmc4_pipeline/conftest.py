from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mmc4_pipeline.stage_folder import StageFolder
from tests.mmc4_pipeline.file_server import FileServer, serving
from tests.mmc4_pipeline.planted_dataset import write_dataset

# A busy machine is no failure: what hypothesis finds must not depend on the time that an example takes.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, bytes]], FileServer]]:
    """Serve files on loopback until the test ends."""
    with ExitStack() as stack:
        yield lambda files: stack.enter_context(serving(files))


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., StageFolder]:
    """Make a dataset below the test's folder."""
    return lambda name="mmc4", **options: write_dataset(tmp_path / name, **options)
