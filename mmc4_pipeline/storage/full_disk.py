"""Turns the error of a full disk into one line that says which folder needs how much room."""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmc4_pipeline.errors import UserError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's quota, the system's limit for one file
_MB = 10**6


@contextmanager
def naming_full_disk(folder: str, what: str, written: Callable[[], int]) -> Iterator[None]:
    """Raise UserError if there is no room in a local folder. `written` returns how many bytes of `what` there was."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise UserError(
            f"{folder}: no room left ({error.strerror}): {what} needs more than {written() / _MB:,.1f} MB, "
            f"{shutil.disk_usage(folder).free / _MB:,.1f} MB are free; make room there, then repeat the command with "
            "--resume"
        ) from error
