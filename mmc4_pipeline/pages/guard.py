"""Make the failure of any parser on a page cost that page only."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.pages.content import rejected
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason

P = ParamSpec("P")
T = TypeVar("T")

_NOT_THE_PAGE = (MemoryError, OSError, UserError)  # the machine, the storage, or what the user gave
_MAX_DETAIL = 300  # characters: a message may quote the page


def guarded(location: Location, read: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | RejectedDocument:
    """Return what the function makes of a page, or the page as a rejected document if the function fails.

    Pages come from anybody, and for every parser somebody has written a page on which it fails. A stage calls the
    parsers of a page's bytes and text through this function only, so that no page can end it.
    """
    try:
        return read(*args, **kwargs)
    except _NOT_THE_PAGE:
        raise
    except Exception as error:  # noqa: BLE001 - see above
        detail = f"reading the page failed ({type(error).__name__}: {error})"
        return rejected(location, Reason.PAGE_UNREADABLE, detail[:_MAX_DETAIL])
