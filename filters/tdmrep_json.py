"""Drops images for which their host's tdmrep.json reserves the rights of text and data mining."""

from collections.abc import Sequence
from dataclasses import dataclass

from filters.base import DeclarationFilter
from schemas.declarations import TDM_FILE, declared
from schemas.reasons import Reason


@dataclass(frozen=True)
class TdmrepJson(DeclarationFilter):
    """Not in MMC4: a rule for the image's URL (W3C TDM Reservation Protocol, "TDM File on the Origin Server").

    The image is not requested then, so a header `tdm-reservation: 0`, which would supersede the file, is never seen.
    """

    reason = Reason.OPTED_OUT
    host_file = "/.well-known/tdmrep.json"

    def refusal(self, declarations: Sequence[str], /) -> str | None:
        """Return the rule that reserves the rights."""
        return next((line for line, _ in declared(declarations, TDM_FILE)), None)
