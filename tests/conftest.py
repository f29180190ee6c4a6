"""What is common to all tests: their order."""

import pytest

# Files that take minutes; side by side with the others they end before them, one after the other at the end they don't.
LONG = (
    "test_engines.py",
    "test_realweb.py",
    "test_resume.py",
    "test_train_faces.py",
    "test_build.py",
    "test_dataset.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
