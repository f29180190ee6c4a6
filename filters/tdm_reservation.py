"""Drops images whose server reserves the rights of text and data mining in a header."""

from collections.abc import Sequence
from dataclasses import dataclass

from filters.base import DeclarationFilter
from schemas.declarations import TDM_HEADER, declared
from schemas.reasons import Reason


@dataclass(frozen=True)
class TdmReservation(DeclarationFilter):
    """Not in MMC4: `tdm-reservation: 1` (W3C TDM Reservation Protocol, "TDM Header Field in HTTP Responses")."""

    reason = Reason.OPTED_OUT

    def refusal(self, declarations: Sequence[str], /) -> str | None:
        """Return the header that reserves the rights."""
        return next((line for line, value in declared(declarations, TDM_HEADER) if value == "1"), None)
