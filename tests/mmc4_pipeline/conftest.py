from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.storage.http import client as http_client
from tests.mmc4_pipeline.file_server import FileServer, serving
from tests.mmc4_pipeline.planted_dataset import write_dataset

# A busy machine is no failure: what hypothesis finds must not depend on the time that an example takes.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, bytes]], FileServer]]:
    """Serve files on loopback until the test ends, to a client whose patience is short."""
    with ExitStack() as stack:
        http_client.use(
            http_client.HttpSettings(
                requests_per_second=1000, tries=5, first_wait=0.001, longest_wait=0.01, timeout=0.3
            )
        )
        yield lambda files: stack.enter_context(serving(files))
    http_client.use(http_client.HttpSettings())


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., StageFolder]:
    """Make a dataset below the test's folder."""
    return lambda name="mmc4", **options: write_dataset(tmp_path / name, **options)
