"""Drops images whose server opts out of machine learning."""

from collections.abc import Sequence
from dataclasses import dataclass

from filters.base import DeclarationFilter, Stricter
from filters.robots_directives import directives
from schemas.declarations import ROBOTS_TAG, declared
from schemas.image import Image
from schemas.reasons import Reason


@dataclass(frozen=True)
class Consent(DeclarationFilter):
    """Not in MMC4: obeys the four directives in `X-Robots-Tag` that img2dataset obeys too, and `none`.

    `noai` and `noimageai` count whichever agent they name: a site that refuses one AI crawler by name refuses AI, and
    can't know our name. `noindex` and `noimageindex` also concern search engines, so they count only if they address
    every agent (`noindex`) or one of `agents` (`img2dataset: noindex`). `otherbot: noindex` does not concern us.
    `none` means `noindex, nofollow`. The recipe mmc4-consent adds `noml` (https://noml.info) to `ai_directives`.
    """

    ai_directives: tuple[str, ...] = ("noai", "noimageai")
    index_directives: tuple[str, ...] = ("noindex", "noimageindex", "none")
    agents: tuple[str, ...] = ("mmc4-pipeline", "img2dataset", "*")

    reason = Reason.OPTED_OUT
    stricter = {
        "ai_directives": Stricter.SUPERSET,
        "index_directives": Stricter.SUPERSET,
        "agents": Stricter.SUPERSET,
    }

    def declarations_of(self, image: Image, /) -> list[str]:
        """Return the headers of that name, which have a column of their own."""
        return [f"{ROBOTS_TAG}: {value}" for value in image.robots_tag.splitlines()] if image.robots_tag else []

    def refusal(self, declarations: Sequence[str], /) -> str | None:
        """Return the first header that opts out."""
        return next((line for line, value in declared(declarations, ROBOTS_TAG) if self._opts_out(value)), None)

    def _opts_out(self, header: str) -> bool:
        return any(
            word in self.ai_directives or ((agent is None or agent in self.agents) and word in self.index_directives)
            for agent, word in directives(header)
        )
