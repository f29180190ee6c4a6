"""A miniature web with its server, and a dataset built from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mmc4_pipeline.miniweb.generate import generate
from mmc4_pipeline.miniweb.serve import serving
from tests.end_to_end.running import Web, mmc4, succeeded


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Serve a miniature web of 60 pages, all of whose images respond in time."""
    folder = tmp_path_factory.mktemp("miniweb")
    generate(folder, pages=60)
    with serving(folder) as address:
        yield Web(folder, address)


@pytest.fixture(scope="session")
def built(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a dataset from the miniature web; return the output folder."""
    output = tmp_path_factory.mktemp("built") / "out"
    succeeded(mmc4("build", *web.build_arguments(output)))
    return output
