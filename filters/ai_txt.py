"""Drops images whose host's ai.txt disallows their use for AI."""

from collections.abc import Sequence
from dataclasses import dataclass

from filters.base import DeclarationFilter
from schemas.declarations import AI_TXT, declared
from schemas.reasons import Reason


@dataclass(frozen=True)
class AiTxt(DeclarationFilter):
    """Not in MMC4: a rule for the image's URL in /ai.txt, which has the syntax of robots.txt (Spawning, 2023).

    See https://spawning.substack.com/p/aitxt-a-new-way-for-websites-to-set: the file of the host that serves the
    image counts.
    """

    reason = Reason.OPTED_OUT
    host_file = "/ai.txt"

    def refusal(self, declarations: Sequence[str], /) -> str | None:
        """Return the rule that disallows it."""
        return next((line for line, _ in declared(declarations, AI_TXT)), None)
