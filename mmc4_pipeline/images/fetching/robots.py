"""Parses robots.txt: what a host allows a crawler to request, and how fast (RFC 9309, with Crawl-delay)."""

import re
from dataclasses import dataclass
from typing import Self

from protego import Protego

MAX_BYTES = 500 << 10  # the rest of a longer file is ignored (RFC 9309, 2.5)
MAX_CRAWL_DELAY = 30.0  # seconds; a longer Crawl-delay is shortened to this
_OUR_NAMES = ("mmc4-pipeline", "img2dataset")  # as in filters/consent.py: a site that refuses these means us too
_CONTACT = re.compile(r"https?://[^\s/]+\.[^\s/]+|[\w.+-]+@[\w-]+\.[\w.-]+")
_AGENT = re.compile(r"\s*user[- ]?agent", re.IGNORECASE)
_PRODUCT = re.compile(r"([A-Za-z][\w.-]*)/\d")
# The parser stores each line of a group once for each of the group's agents: a malicious file could fill the memory.
_MAX_STORED_LINES = 2_000_000


def has_contact(user_agent: str) -> bool:
    """Return whether a User-Agent contains a web or e-mail address at which sites can reach its user."""
    return _CONTACT.search(user_agent) is not None


def robot_names(user_agent: str) -> str:
    """Return the names by which a robots.txt may address us, in one string: the User-Agent's and the program's.

    A crawler's name is the product token of its User-Agent (RFC 9309, 2.2.1).
    """
    without_address = re.sub(r"\S*(?:://|@)\S*", "", user_agent)
    own = _PRODUCT.findall(without_address) or without_address.split()[:1]
    return " ".join(dict.fromkeys((*own, *_OUR_NAMES)))


@dataclass(frozen=True, slots=True)
class Robots:
    """The rules of a robots.txt for a crawler with these names; without `rules` everything is allowed."""

    rules: Protego | None = None
    names: str = ""

    @classmethod
    def read(cls, body: bytes, names: str) -> Self:
        """Parse a file, whatever it contains; raises ValueError if it would take too much memory."""
        text = body[:MAX_BYTES].decode("utf-8-sig", "replace")
        lines = text.splitlines()
        agents = sum(_AGENT.match(line) is not None for line in lines)
        if agents * len(lines) > _MAX_STORED_LINES:
            raise ValueError(f"{agents} agents in {len(lines)} lines are too many")
        return cls(Protego.parse(text), names)

    def allows(self, url: str) -> bool:
        """Return whether a URL may be requested."""
        return self.rules is None or self.rules.can_fetch(url, self.names)

    @property
    def delay(self) -> float:
        """Return the Crawl-delay in seconds, at most MAX_CRAWL_DELAY; 0 if there is none."""
        return min(MAX_CRAWL_DELAY, (self.rules and self.rules.crawl_delay(self.names)) or 0.0)
