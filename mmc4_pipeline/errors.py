"""Errors that a user can fix. Each message is one line that names the file, line or URL and says what to do next.

A worker on another machine reports an error only as the text of its traceback. `user_message` finds a UserError in that
text by the name of its class, as Python prints it: `mmc4_pipeline.errors.UserError: the message`. So every subclass of
UserError must be imported wherever its message is to be found, and its message must be a single line.
"""

import re
from collections.abc import Iterator


class UserError(Exception):
    """Something that the user gave, or has to give, is wrong. The command line prints the message, not a traceback."""


class PermanentReadError(UserError):
    """A file is missing or returned unexpected bytes. The failure is permanent, so the data may be dropped.

    Any other UserError while reading is treated as temporary (a busy server, expired credentials). It ends the run,
    because a drop would be final.
    """


class NotRunError(Exception):
    """Not a failure: the pipeline was only described or handed over, and its manifest is still to come."""


def user_message(error: BaseException) -> str | None:
    """Return the message of a UserError, also if a runner has wrapped it or passed it on as the text of a traceback.

    Returns None if there is none.
    """
    if isinstance(error, UserError):
        return re.sub(r" \[while running .*", "", str(error), flags=re.DOTALL)
    names = "|".join(re.escape(name) for name in _names(UserError))
    found = re.findall(rf"^(?:\w+\.)*(?:{names}): (.*)$", str(error), flags=re.MULTILINE)
    if found:
        return re.sub(r" \[while running .*", "", found[-1])
    return user_message(error.__cause__) if error.__cause__ else None


def _names(kind: type[Exception]) -> Iterator[str]:
    yield kind.__name__
    for narrower in kind.__subclasses__():
        yield from _names(narrower)
