"""Reads robots.txt: what a host allows a crawler to request, and how fast (RFC 9309, with Crawl-delay).

Also the rules for the use of what is requested (Content-Usage in draft-ietf-aipref-attach).
"""

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Self

from mmc4_pipeline.images.fetching.path_rules import PathRules, UndecidableError
from schemas.declarations import USAGE_RULE

MAX_BYTES = 500 << 10  # the rest of a longer file is ignored (RFC 9309, 2.5)
MAX_CRAWL_DELAY = 30.0  # seconds; a longer Crawl-delay is shortened to this
_OUR_NAMES = ("mmc4-pipeline", "img2dataset")  # as in filters/consent.py: a site that refuses these means us too
_CONTACT = re.compile(r"https?://[^\s/]+\.[^\s/]+|[\w.+-]+@[\w-]+\.[\w.-]+")
_PRODUCT = re.compile(r"([A-Za-z][\w.-]*)/\d")
_LINE_END = re.compile(r"\r\n?|\n")
# Usual misspellings are understood, as Google does, and a space in place of the colon.
_FIELD = re.compile(
    r"\s*(?:(user[-_ ]?agent)|(allow)|(dis{1,2}all?ow|diasllow|disallaw)|(crawl[- ]?delay)|(content-usage))"
    r"(?:\s*:|\s)\s*(.*)",
    re.IGNORECASE | re.DOTALL,
)
_AGENT, _ALLOW, _DISALLOW, _DELAY, _USAGE = "agent", "allow", "disallow", "delay", "usage"
_KINDS = (_AGENT, _ALLOW, _DISALLOW, _DELAY, _USAGE)  # the groups of _FIELD
# What a group's line names: a product token; "name/1.0" names the same crawler (RFC 9309, 2.2.1).
_TOKEN = re.compile(r"\*(?!\S)|[^\s/*;\"']+")
_QUOTES = " \t\"'"
_INVISIBLE = dict.fromkeys((0, 0x200B, 0xFEFF))  # NUL, a space of no width, and a byte order mark inside
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def has_contact(user_agent: str) -> bool:
    """Return whether a User-Agent contains a web or e-mail address at which sites can reach its user."""
    return _CONTACT.search(user_agent) is not None


def robot_names(user_agent: str) -> tuple[str, ...]:
    """Return the names by which a robots.txt may address us, in lower case: the User-Agent's and the program's.

    A crawler's name is the product token of its User-Agent (RFC 9309, 2.2.1).
    """
    without_address = re.sub(r"\S*(?:://|@)\S*", "", user_agent)
    own = _PRODUCT.findall(without_address) or without_address.split()[:1]
    return tuple(dict.fromkeys(name.lower() for name in (*own, *_OUR_NAMES)))


@dataclass(slots=True)
class _Group:
    """The rules for one crawler, from all groups that name it."""

    is_named: bool = False
    access: list[tuple[str, str]] = field(default_factory=list)
    usage: list[tuple[str, str]] = field(default_factory=list)
    delay: float = 0.0

    def add(self, kind: str, value: str) -> None:
        if kind == _DELAY:
            self.delay = max(self.delay, _seconds(value))
        elif kind == _USAGE:
            # A rule of an early draft has no path.
            path, *statement = value.split(None, 1) if value.startswith("/") else ("/", value)
            self.usage.append((path, "".join(statement)))
        else:
            self.access.append((value, kind))


@dataclass(frozen=True, slots=True)
class Robots:
    """The rules of a robots.txt for one crawler; without rules everything is allowed."""

    access: PathRules = field(default_factory=lambda: PathRules(()))
    usage: PathRules = field(default_factory=lambda: PathRules(()))
    delay: float = 0.0  # the Crawl-delay in seconds, at most MAX_CRAWL_DELAY

    @classmethod
    def read(cls, body: bytes, names: Collection[str]) -> Self:
        """Read a file, whatever it contains, for a crawler with these names in lower case.

        The groups for any of the names are combined; if there are none, those for "*" hold.
        """
        ours, all_others = _Group(), _Group()
        addressed: list[_Group] = []
        has_rules = True  # of the group that the lines belong to
        for kind, value in _lines(body):
            if kind == _AGENT:
                if has_rules:
                    addressed, has_rules = [], False
                for name in _agents(value):
                    group = ours if name in names else all_others if name == "*" else None
                    if group is not None and group not in addressed:
                        group.is_named = True
                        addressed.append(group)
                continue
            has_rules = True
            for group in addressed if value else ():
                group.add(kind, value)
        group = ours if ours.is_named else all_others
        return cls(PathRules(group.access), PathRules(group.usage), group.delay)

    @property
    def size(self) -> int:
        """Return about how many bytes it takes in memory."""
        return self.access.size + self.usage.size

    def allows(self, url: str) -> bool:
        """Return whether a URL may be requested; one for which that can't be found out may not."""
        return self.refusing_pattern(url) is None

    def refusing_pattern(self, url: str) -> str | None:
        """Return the pattern of the rule that forbids a URL; None if it is allowed. A tie allows (RFC 9309, 2.2.2)."""
        try:
            found = self.access.longest(url)
        except UndecidableError as error:
            return str(error)
        return None if not found or any(rule.value == _ALLOW for rule in found) else found[0].pattern

    def declarations(self, url: str) -> list[str]:
        """Return what the file declares about the use of what is at a URL."""
        try:
            return [f"{USAGE_RULE}: {rule.value}" for rule in self.usage.longest(url)]
        except UndecidableError:
            return []


def _lines(body: bytes) -> Iterator[tuple[str, str]]:
    """Yield kind and value of each line that has a meaning."""
    coding = "utf-16" if body.startswith(_UTF_16) else "utf-8-sig"
    for line in _LINE_END.split(body[:MAX_BYTES].decode(coding, "replace").translate(_INVISIBLE)):
        found = _FIELD.match(line.partition("#")[0])
        if found:
            *kinds, value = found.groups()
            yield next(kind for kind, name in zip(_KINDS, kinds, strict=True) if name), value.strip()


def _agents(value: str) -> Iterator[str]:
    """Yield the names in a line, in lower case; some files have several, although each should have its own line."""
    for part in value.split(","):
        if token := _TOKEN.match(part.strip(_QUOTES)):
            yield token[0].lower()


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        return 0.0
    return min(seconds, MAX_CRAWL_DELAY) if math.isfinite(seconds) and seconds > 0 else 0.0
