"""Drops images whose server says that they are not for machine learning."""

from dataclasses import dataclass

from filters.base import ImageFilter, Stricter
from schemas.image import Image
from schemas.reasons import Reason


@dataclass(frozen=True)
class Consent(ImageFilter):
    """Reads `X-Robots-Tag`, with img2dataset's four directives.

    `noai` and `noimageai` opt out whichever agent they name: who refuses one AI crawler by name means AI, and can't
    know ours. `noindex` and `noimageindex` are about search engines too, so they count only where they are said to
    everybody (`noindex`) or to one of `agents` (`img2dataset: noindex`); `otherbot: noindex` is not about us.
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

    def decide(self, image: Image) -> str | None:
        """Judge the headers of that name, one a line; an image without one has not opted out."""
        headers = (image.robots_tag or "").lower().splitlines()
        return self.reason if any(map(self._opts_out, headers)) else None

    def _opts_out(self, header: str) -> bool:
        about_us = True  # until an agent is named; its name holds for the directives after it
        for part in header.split(","):
            agent, colon, directive = part.partition(":")
            if colon and agent.strip() != "unavailable_after":  # that directive has a colon of its own
                about_us = agent.strip() in self.agents
            said = (directive if colon else agent).strip()
            if said in self.ai_directives or (about_us and said in self.index_directives):
                return True
        return False
