"""What goes into the fetcher and what comes out: requests, results, and the handler that receives each image."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from schemas.reasons import Drop


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An image to fetch. `timestamp` is when its page was crawled; routes through an archive need it."""

    url: str
    timestamp: datetime


class FetchResult(msgspec.Struct, frozen=True):
    """How a request ended: with a body, or with the reason why there is none.

    `robots_tag` has one X-Robots-Tag per line, and `declarations` one other declaration (schemas/declarations.py).
    `size` (width and height in pixels) and `sha256` describe the image as the web had it, if another program fetched it
    and may have changed it since. They are None if the body itself is what the web had. `filter` is the recipe's key of
    the filter for which the body was not read.
    """

    url: str
    route: str
    status: int | None = None
    error: str | None = None
    robots_tag: str | None = None
    reason: str | None = None
    body: bytes = b""
    size: tuple[int, int] | None = None
    sha256: str | None = None
    filter: str | None = None
    declarations: str | None = None


class ImageHandler(Protocol):
    """Decides for one image what the fetcher may do, and receives the image."""

    def denies(self, url: str) -> bool:
        """Return whether a URL must not be requested, although a redirect leads to it."""

    def refuse(self, robots_tag: str, declarations: str) -> Drop | None:
        """Return reason and filter if these, as in a result, forbid reading the body, else None.

        It is also asked before the image is requested, if files of its host declare something.
        """

    async def receive(self, result: FetchResult) -> str | None:
        """Receive a result that has a body; return the reason why it is unusable, or None.

        If it is unusable, the next route is tried.
        """
