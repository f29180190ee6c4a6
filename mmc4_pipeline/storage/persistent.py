"""Read from a store whose package gives up soon, however long the connection is lost."""

import logging
import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from mmc4_pipeline.errors import PermanentReadError, UserError
from mmc4_pipeline.storage.http.client import HttpSettings

Result = TypeVar("Result")

_log = logging.getLogger(__name__)


def persistently(read: Callable[[], Result], settings: HttpSettings) -> Result:
    """Return what `read` returns, trying as often as the settings say, with longer and longer waits.

    Raises UserError if the last try fails too, PermanentReadError at once.
    """
    for failures in count(1):
        try:
            return read()
        except PermanentReadError:
            raise
        except UserError as error:
            if failures == settings.tries:
                raise UserError(f"{error} ({failures} tries); try later, with --resume") from error
            wait = min(settings.longest_wait, settings.first_wait * 2 ** (failures - 1))
            _log.warning("%s; retrying in %.1f s", error, wait)
            time.sleep(wait)
    raise AssertionError
