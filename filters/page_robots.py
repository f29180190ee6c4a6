"""Drops all images of a page whose robots meta tag or X-Robots-Tag opts out of machine learning."""

from collections.abc import Sequence
from dataclasses import dataclass

from filters.base import PageFilter
from filters.robots_directives import directives
from schemas.declarations import META, ROBOTS_TAG
from schemas.reasons import Reason

DIRECTIVES = ("noai", "noimageai", "noml")


@dataclass(frozen=True)
class PageRobots(PageFilter):
    """Not in MMC4: `noai` and `noimageai` (DeviantArt), `noml` (https://noml.info), whichever agent they name."""

    directives: tuple[str, ...] = DIRECTIVES

    reason = Reason.OPTED_OUT

    def __post_init__(self) -> None:
        """Raise ValueError for a directive that is not collected from pages."""
        if unknown := [word for word in self.directives if word not in DIRECTIVES]:
            raise ValueError(f"directives: {unknown[0]!r} is not one of {', '.join(DIRECTIVES)}")

    def refusal(self, declarations: Sequence[str], /) -> str | None:
        """Return the first tag or header that has one of the directives."""
        for line in declarations:
            name, _, value = line.partition(":")
            is_about_robots = name == ROBOTS_TAG or name.startswith(META)
            if is_about_robots and any(word in self.directives for _, word in directives(value)):
                return line
        return None
