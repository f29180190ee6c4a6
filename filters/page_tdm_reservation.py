"""Drops all images of a page that reserves the rights of text and data mining."""

from collections.abc import Sequence
from dataclasses import dataclass

from filters.base import PageFilter
from schemas.declarations import TDM_HEADER, TDM_META, declared
from schemas.reasons import Reason


@dataclass(frozen=True)
class PageTdmReservation(PageFilter):
    """Not in MMC4: `tdm-reservation: 1` in a meta tag or a header of the page.

    W3C TDM Reservation Protocol (final Community Group report of 2 February 2024), "Expressing a TDM declaration" and
    "Processing priority": 1 reserves the rights, 0 does not, any other value says nothing; the meta tag supersedes the
    header.
    """

    reason = Reason.OPTED_OUT

    def refusal(self, declarations: Sequence[str], /) -> str | None:
        """Return the declaration that reserves the rights."""
        for name in (TDM_META, TDM_HEADER):
            found = [(line, value) for line, value in declared(declarations, name) if value in ("0", "1")]
            if found:
                return next((line for line, value in found if value == "1"), None)
        return None
