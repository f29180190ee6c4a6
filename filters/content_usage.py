"""Drops images for which a Content-Usage header, or a rule in robots.txt, disallows training."""

from collections.abc import Sequence
from dataclasses import dataclass

from filters.base import DeclarationFilter, Stricter
from filters.usage_preferences import TRAINING, disallows
from schemas.declarations import USAGE_HEADER, USAGE_RULE, declared
from schemas.reasons import Reason


@dataclass(frozen=True)
class ContentUsage(DeclarationFilter):
    """Not in MMC4: `Content-Usage: train-ai=n` in a header, `Content-Usage: / train-ai=n` in robots.txt.

    draft-ietf-aipref-attach says where these are found, and draft-ietf-aipref-vocab, "Combining Preferences", that the
    most restrictive of several statements applies.
    """

    categories: tuple[str, ...] = TRAINING

    reason = Reason.OPTED_OUT
    stricter = {"categories": Stricter.SUPERSET}

    def refusal(self, declarations: Sequence[str], /) -> str | None:
        """Return the first statement that disallows one of the categories."""
        found = declared(declarations, USAGE_HEADER, USAGE_RULE)
        return next((line for line, value in found if disallows(value, self.categories)), None)
