"""What a command logs on stderr: warnings of our own modules, with -v also their progress; of others, errors only.

Beam, open_clip and others warn about things that users of this program have not chosen.
"""

import logging
import os
import sys

from mmc4_pipeline.terminal import printable

OURS = ("mmc4_pipeline", "beam_jobs", "filters")
_LOGGED_AND_RAISED = ("common", "worker", "portability.fn_api_runner", "portability.local_job_service")


class _StderrHandler(logging.Handler):
    """Writes to whatever `sys.stderr` is at that moment: a progress bar replaces it to write above itself."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record of ours, or an error of another package."""
        if record.levelno < logging.ERROR and record.name.partition(".")[0] not in OURS:
            return  # some packages set the level of their own logger
        sys.stderr.write(f"{printable(self.format(record))}\n")


def configure(*, verbose: bool) -> None:
    """Configure logging for one command in this process."""
    root = logging.getLogger()
    if not any(isinstance(handler, _StderrHandler) for handler in root.handlers):
        root.addHandler(_StderrHandler())
    root.setLevel(logging.ERROR)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.WARNING)
    for name in _LOGGED_AND_RAISED:
        logging.getLogger(f"apache_beam.runners.{name}").setLevel(logging.CRITICAL)
    logging.getLogger("PrismJobServer").disabled = True  # Beam sets the level of this one itself
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # it logs with a handler of its own
    root.addFilter(_is_not_of_a_remote_job)


def _is_not_of_a_remote_job(record: logging.LogRecord) -> bool:
    """Drop what Beam logs of a job on another engine, with the engine's stack traces: it is raised as well."""
    return record.module != "portable_runner"
