"""What all tests share: the order in which they run, and the mark of those that need other programs."""

import pytest
from hypothesis import HealthCheck, settings

from tests.engines import install

# A busy machine is not a failure: what hypothesis finds must not depend on the time that an example takes.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Files that take minutes start first: started last, they would run on alone after all others have ended.
LONG = (
    "test_engines.py",
    "test_flink_failures.py",
    "test_realweb.py",
    "test_resume.py",
    "test_train_faces.py",
    "test_build.py",
    "test_dataset.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, and skip tests whose engines are not installed."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
    for item in items:
        for mark in item.iter_markers("engines"):
            missing = ", ".join(name for name in mark.args if not install.is_installed(name))
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"not installed: {missing} (`make engines` installs it)"))
