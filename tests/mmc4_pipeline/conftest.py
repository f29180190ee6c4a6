from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import fsspec
import pytest

from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.storage import paths
from tests.mmc4_pipeline.file_server import FileServer, serving
from tests.mmc4_pipeline.hub import serving_hub
from tests.mmc4_pipeline.planted_dataset import write_dataset
from tests.mmc4_pipeline.virtual_clock import VirtualClock


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, bytes]], FileServer]]:
    """Serve files on loopback until the test ends."""
    with ExitStack() as stack:
        yield lambda files: stack.enter_context(serving(files))


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., StageFolder]:
    """Make a dataset below the test's folder."""
    return lambda name="mmc4", **options: write_dataset(tmp_path / name, **options)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, bytes]], FileServer]]:
    """Return what starts a stand-in that hf:// addresses lead to; the package's waits take no time."""
    with ExitStack() as stack:

        def start(files: dict[str, bytes]) -> FileServer:
            server = stack.enter_context(serving_hub(files))
            monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": server.address})
            monkeypatch.setattr("huggingface_hub.utils._http.time", VirtualClock())
            paths._filesystem.cache_clear()  # noqa: SLF001
            return server

        yield start
    paths._filesystem.cache_clear()  # noqa: SLF001
