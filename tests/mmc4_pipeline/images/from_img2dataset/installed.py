"""The Python that has img2dataset: this one, or, because its pins conflict, the one that IMG2DATASET_PYTHON names."""

import os
import sys

import pytest

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.from_img2dataset.engine import version_of

PYTHON = os.environ.get("IMG2DATASET_PYTHON", sys.executable)


def _is_installed() -> bool:
    try:
        return bool(version_of(PYTHON))
    except UserError:
        return False


needs_img2dataset = pytest.mark.skipif(not _is_installed(), reason="no img2dataset; see IMG2DATASET_PYTHON")
