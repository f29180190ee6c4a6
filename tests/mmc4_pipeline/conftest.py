from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings

from mmc4_pipeline import http_client
from tests.mmc4_pipeline.file_server import FileServer, serving

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
