"""What all tests share: their order, the mark of those that need other programs, and a folder for temporary files."""

import os
import shutil
import signal
import tempfile
from multiprocessing.util import Finalize

import pytest
from hypothesis import HealthCheck, settings

from tests.engines import install

# A busy machine is not a failure: what hypothesis finds must not depend on the time that an example takes.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Files that take longest start first: started last, they would run on alone after all others have ended.
LONG = (
    "test_engines.py",
    "test_flink_failures.py",
    "test_realweb.py",
    "test_resume.py",
    "test_kills.py",
    "test_benchmarks.py",
    "test_bad_input.py",
    "test_engine.py",
    "test_decode.py",
    "test_try.py",
    "test_loaders.py",
    "test_open_flamingo.py",
    "test_train_faces.py",
    "test_without_torch.py",
    "test_log.py",
    "test_build.py",
    "test_dataset.py",
    "test_wheel.py",
    "test_warcs.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one more than there are cores: many tests wait for timeouts, for retries, or for other programs."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def _temporary_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give this process a folder for temporary files that is removed with what Beam and others leave in it.

    Its path is short because it is part of the paths of sockets. It is removed at the exit, after Beam has ended its
    job servers and multiprocessing has removed its own folder (at a priority of -100), which are in it.
    """
    tmp_path_factory.getbasetemp()  # stays outside
    folder = tempfile.mkdtemp(prefix="mmc4-")
    Finalize(None, shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, exitpriority=-200)
    os.environ["TMPDIR"] = tempfile.tempdir = folder


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """Let tests press Ctrl-C, which a shell makes programs ignore that it starts in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, and skip tests whose engines are not installed."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
    for item in items:
        for mark in item.iter_markers("engines"):
            missing = ", ".join(name for name in mark.args if not install.is_installed(name))
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"not installed: {missing} (`make engines` installs it)"))
