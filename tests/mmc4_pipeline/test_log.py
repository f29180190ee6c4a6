"""Which records reach stderr."""

import logging
from collections.abc import Iterator

import pytest

from mmc4_pipeline import log


@pytest.fixture(autouse=True)
def other_package() -> Iterator[logging.Logger]:
    """Return the logger of a package that sets its own level; the log of later tests is as quiet as before."""
    logger = logging.getLogger("some_package.module")
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.setLevel(logging.NOTSET)
    log.configure(verbose=False)


@pytest.mark.parametrize("name", ["mmc4_pipeline.storage.http.client", "beam_jobs.stage_runner", "filters.ads"])
def test_our_warnings_are_shown_and_our_progress_only_if_wanted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for verbose, shown in ((False, ["warning"]), (True, ["info", "warning"]), (False, ["warning"])):
        log.configure(verbose=verbose)
        for level in ("debug", "info", "warning"):
            getattr(logging.getLogger(name), level)(level)
        lines = capsys.readouterr().err.splitlines()
        assert [line.rpartition(": ")[2] for line in lines] == shown
        assert all(name in line and line.rpartition(": ")[2].upper() in line for line in lines)


def test_only_errors_of_other_packages_are_shown(
    other_package: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(verbose=True)
    other_package.warning("noise")
    assert capsys.readouterr().err == ""
    other_package.error("broken")
    assert "ERROR some_package.module: broken" in capsys.readouterr().err
