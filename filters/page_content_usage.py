"""Drops all images of a page whose Content-Usage header disallows training."""

from collections.abc import Sequence
from dataclasses import dataclass

from filters.base import PageFilter
from filters.usage_preferences import TRAINING, disallows
from schemas.declarations import USAGE_HEADER, declared
from schemas.reasons import Reason


@dataclass(frozen=True)
class PageContentUsage(PageFilter):
    """Not in MMC4: `Content-Usage: train-ai=n` in a header of the page (draft-ietf-aipref-attach).

    The header is about the page itself, whose text would be used with the images.
    """

    categories: tuple[str, ...] = TRAINING

    reason = Reason.OPTED_OUT

    def refusal(self, declarations: Sequence[str], /) -> str | None:
        """Return the header that disallows one of the categories."""
        found = declared(declarations, USAGE_HEADER)
        return next((line for line, value in found if disallows(value, self.categories)), None)
