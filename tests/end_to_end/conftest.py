"""Miniature webs with their servers, datasets built from them, and a Flink cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mmc4_pipeline.miniweb.generate import generate
from mmc4_pipeline.miniweb.serve import serving
from tests.end_to_end.running import Web, mmc4, succeeded
from tests.end_to_end.stalled import stalled_build
from tests.engines import flink


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


@pytest.fixture(scope="session")
def stalled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Serve a miniature web in which some images never respond."""
    folder = tmp_path_factory.mktemp("stalled")
    generate(folder, pages=60, stalled=True)
    with serving(folder) as address:
        yield Web(folder, address)


@pytest.fixture(scope="session")
def local(stalled: Web, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build on the local runner, in one process; return the output folder."""
    output = tmp_path_factory.mktemp("local") / "out"
    succeeded(mmc4("build", *stalled_build(stalled, output)))
    assert len(list((output / "images").glob("*.tar"))) > 4
    return output


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[flink.Cluster]:
    """Run a Flink cluster of a job manager and two task managers, both of which a job with two workers needs."""
    with flink.cluster(tmp_path_factory.mktemp("flink"), slots=1) as running:
        yield running
