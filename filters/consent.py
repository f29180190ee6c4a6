"""Drops images whose server opts out of machine learning."""

from dataclasses import dataclass

from filters.base import ImageFilter, Stricter
from schemas.image import Image
from schemas.reasons import Reason


@dataclass(frozen=True)
class Consent(ImageFilter):
    """Not in MMC4: obeys the four directives in `X-Robots-Tag` that img2dataset obeys too.

    `noai` and `noimageai` count whichever agent they name: a site that refuses one AI crawler by name refuses AI, and
    can't know our name. `noindex` and `noimageindex` also concern search engines, so they count only if they address
    every agent (`noindex`) or one of `agents` (`img2dataset: noindex`). `otherbot: noindex` does not concern us.
    """

    ai_directives: tuple[str, ...] = ("noai", "noimageai")
    index_directives: tuple[str, ...] = ("noindex", "noimageindex")
    agents: tuple[str, ...] = ("mmc4-pipeline", "img2dataset")

    reason = Reason.OPTED_OUT
    stricter = {
        "ai_directives": Stricter.SUPERSET,
        "index_directives": Stricter.SUPERSET,
        "agents": Stricter.SUPERSET,
    }

    def decide(self, image: Image, /) -> str | None:
        """Read the headers of that name, one per line; an image without one has not opted out."""
        headers = (image.robots_tag or "").lower().splitlines()
        return self.reason if any(map(self._opts_out, headers)) else None

    def _opts_out(self, header: str) -> bool:
        about_us = True  # until an agent is named; it is the agent of all directives after it
        for part in header.split(","):
            agent, colon, directive = part.partition(":")
            if colon and agent.strip() != "unavailable_after":  # that directive has a colon of its own
                about_us = agent.strip() in self.agents
            word = (directive if colon else agent).strip()
            if word in self.ai_directives or (about_us and word in self.index_directives):
                return True
        return False
