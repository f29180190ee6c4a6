"""Shows what our modules log in the local runner's other worker processes.

Beam sends the log records of these processes to the main one and logs them there, as text, under a name of its own.
"""

import logging
import re

from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker.log_handler import LOGENTRY_TO_LOG_LEVEL_MAP
from google.protobuf import text_format  # type: ignore[import-untyped]

from mmc4_pipeline.log import OURS

_BEAM_LOGGER = "apache_beam.runners.portability.local_job_service"
_OUR_FILE = re.compile(rf'log_location: "[^"]*/((?:{"|".join(OURS)})/[\w/]+)\.py:\d+"')


class _WorkerLog(logging.Handler):
    """Logs the records of our modules again under their own names, and drops those of others."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().removeprefix("Worker: ")
        ours = _OUR_FILE.search(text)
        if ours:
            entry = text_format.Parse(text, beam_fn_api_pb2.LogEntry())
            logger = logging.getLogger(ours[1].replace("/", "."))
            logger.log(LOGENTRY_TO_LOG_LEVEL_MAP[entry.severity], "%s", entry.message)


def show_worker_log() -> None:
    """Log here, from now on, what our modules log in other worker processes."""
    logger = logging.getLogger(_BEAM_LOGGER)
    if not any(isinstance(handler, _WorkerLog) for handler in logger.handlers):
        logger.addHandler(_WorkerLog())
    logger.setLevel(logging.INFO)
    logger.propagate = False
