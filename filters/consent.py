"""Drops images whose server opts out of machine learning."""

import re
from dataclasses import dataclass

from filters.base import ImageFilter, Stricter
from schemas.image import Image
from schemas.reasons import Reason

# Directives with a value: their colon does not follow an agent's name.
_WITH_VALUE = ("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after")
_AGENT = re.compile(r"\*|[a-z_][a-z0-9_.-]*")


@dataclass(frozen=True)
class Consent(ImageFilter):
    """Not in MMC4: obeys the four directives in `X-Robots-Tag` that img2dataset obeys too, and `none`.

    The header has the form that Google documents ("Robots meta tag, data-nosnippet, and X-Robots-Tag specifications").

    `noai` and `noimageai` count whichever agent they name: a site that refuses one AI crawler by name refuses AI, and
    can't know our name. `noindex` and `noimageindex` also concern search engines, so they count only if they address
    every agent (`noindex`) or one of `agents` (`img2dataset: noindex`). `otherbot: noindex` does not concern us.
    `none` means `noindex, nofollow`.
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

    def decide(self, image: Image, /) -> str | None:
        """Read the headers of that name, one per line; an image without one has not opted out."""
        headers = (image.robots_tag or "").lower().splitlines()
        return self.reason if any(map(self._opts_out, headers)) else None

    def _opts_out(self, header: str) -> bool:
        about_us = True  # until an agent is named; it is the agent of all directives after it
        for part in header.split(","):
            name, colon, rest = (word.strip() for word in part.partition(":"))
            if colon and name in _WITH_VALUE:
                continue
            is_named = bool(colon) and _AGENT.fullmatch(name) is not None
            if is_named:
                about_us = name in self.agents
            word = rest if is_named else part.strip()
            if rest.partition(":")[0].strip() in _WITH_VALUE:
                continue  # a value follows an agent's name: "otherbot: max-image-preview:none"
            if word in self.ai_directives or (about_us and word in self.index_directives):
                return True
        return False
