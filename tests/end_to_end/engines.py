"""Beam's other engines, as the options that choose them."""

import pytest

from tests.engines import install


def needs(engine: str) -> pytest.MarkDecorator:
    """Skip a test where the engine's programs are missing, and say which."""
    lacking = ", ".join(install.missing(engine))
    return pytest.mark.skipif(bool(lacking), reason=f"{engine} needs {lacking}, not found here")


def options(engine: str) -> list[str]:
    """Give the options that choose an engine of this machine."""
    if engine == "prism":
        return ["--runner", "PrismRunner", "--prism_location", str(install.prism())]
    if engine == "flink":
        return [
            *("--runner", "FlinkRunner", "--flink_master=[local]"),
            *("--flink_job_server_jar", str(install.job_server())),
        ]
    return ["--direct_num_workers", "2"]


EVERY = [
    pytest.param("processes", id="two processes"),
    pytest.param("prism", marks=[pytest.mark.prism, needs("prism")]),
    pytest.param("flink", marks=[pytest.mark.flink, needs("flink")], id="flink in its job server"),
]
