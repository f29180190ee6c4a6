"""The Python that has img2dataset, and the mark of tests that need it."""

import pytest

from tests.engines import install

PYTHON = str(install.IMG2DATASET.path)
needs_img2dataset = pytest.mark.engines("img2dataset")
