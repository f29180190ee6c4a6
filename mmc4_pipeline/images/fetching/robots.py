"""robots.txt: what a host allows a robot, and how fast (RFC 9309, with Crawl-delay)."""

import re
from dataclasses import dataclass
from typing import Self

from protego import Protego

MAX_BYTES = 500 << 10  # what comes after is not read (RFC 9309, 2.5)
LONGEST_DELAY = 30.0  # seconds; who asks for a longer Crawl-delay gets this one
_OUR_NAMES = ("mmc4-pipeline", "img2dataset")  # as filters/consent.py: who refuses these means what we do
_CONTACT = re.compile(r"https?://[^\s/]+\.[^\s/]+|[\w.+-]+@[\w-]+\.[\w.-]+")
_AGENT = re.compile(r"\s*user[- ]?agent", re.IGNORECASE)
_PRODUCT = re.compile(r"([A-Za-z][\w.-]*)/\d")
# A line of a group is noted for each of the group's agents: a file made for it could fill the memory.
_MAX_NOTES = 2_000_000


def has_contact(user_agent: str) -> bool:
    """Tell whether a User-Agent names a web or e-mail address, so that sites can reach who asks."""
    return _CONTACT.search(user_agent) is not None


def robot_names(user_agent: str) -> str:
    """Give the names that a robots.txt may call us by, in one string: those of the User-Agent, and the program's.

    As RFC 9309 (2.2.1) has it, a robot's name is the product token of its User-Agent.
    """
    without_address = re.sub(r"\S*(?:://|@)\S*", "", user_agent)
    own = _PRODUCT.findall(without_address) or without_address.split()[:1]
    return " ".join(dict.fromkeys((*own, *_OUR_NAMES)))


@dataclass(frozen=True, slots=True)
class Robots:
    """What a robots.txt says to the robot of these names; `rules` is None where there is none: all is allowed."""

    rules: Protego | None = None
    names: str = ""

    @classmethod
    def read(cls, body: bytes, names: str) -> Self:
        """Read a file, whatever it is; raises ValueError for one that would take too much room."""
        text = body[:MAX_BYTES].decode("utf-8-sig", "replace")
        lines = text.splitlines()
        agents = sum(_AGENT.match(line) is not None for line in lines)
        if agents * len(lines) > _MAX_NOTES:
            message = f"{agents} agents in {len(lines)} lines are too many"
            raise ValueError(message)
        return cls(Protego.parse(text), names)

    def allows(self, url: str) -> bool:
        """Tell whether a URL may be asked for."""
        return self.rules is None or self.rules.can_fetch(url, self.names)

    @property
    def delay(self) -> float:
        """Give the seconds from one request to the next that are asked for, at most LONGEST_DELAY."""
        return min(LONGEST_DELAY, (self.rules and self.rules.crawl_delay(self.names)) or 0.0)
