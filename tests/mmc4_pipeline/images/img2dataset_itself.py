"""Which Python has img2dataset: this one, or the one that IMG2DATASET_PYTHON names, as its pins are at odds."""

import os
import sys

import pytest

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.by_img2dataset import version_of

PYTHON = os.environ.get("IMG2DATASET_PYTHON", sys.executable)


def _is_there() -> bool:
    try:
        return bool(version_of(PYTHON))
    except UserError:
        return False


needs_img2dataset = pytest.mark.skipif(not _is_there(), reason="no img2dataset here; see IMG2DATASET_PYTHON")
