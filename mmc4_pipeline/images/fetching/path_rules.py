"""Rules for the paths of URLs, with the patterns of robots.txt: prefixes, in which * stands for any characters.

RFC 9309, sections 2.2.2 and 2.2.3. A $ at the end of a pattern stands for the end of the path. Files come from anybody,
so the work for one URL is bounded, whatever the rules are.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from filters.short_cache import URL_LENGTH, short_cache
from filters.web_url import parts_of, web_url

MAX_PATH = 16_384  # characters; servers accept half of that
MAX_WORK = 300_000  # for one URL, in units of some 10 ns: a few milliseconds
_WORK_OF_RULE, _WORK_OF_PART = 60, 20
_CHARACTERS_PER_UNIT = 16
_BYTES_OF_RULE, _BYTES_OF_CHARACTER = 400, 6  # in memory, at most, as measured
# Everything else is percent-encoded before patterns and paths are compared (RFC 3986: reserved and unreserved).
_SAFE = "!#$%&'()*+,/:;=?@[]-._~"
_DOLLAR = "%24"
_ENCODED = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


class UndecidableError(ValueError):
    """Whether rules match a URL can't be found out within the bounds."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its number in the file, its pattern as written there, the pattern's length in octets, and its value."""

    number: int
    pattern: str
    length: int
    value: str


@dataclass(frozen=True, slots=True)
class _Rest:
    """What follows the first * of a pattern: the parts between the other *; the last may have to be at the end."""

    parts: tuple[str, ...]
    is_anchored: bool
    rule: Rule

    def work(self, characters: int) -> int:
        """Return the most work that looking for the parts in so many characters can be."""
        longest = max(map(len, self.parts), default=0)
        return _WORK_OF_RULE + _WORK_OF_PART * len(self.parts) + characters * longest // _CHARACTERS_PER_UNIT


class PathRules:
    """The rules that a file has for us, found by the beginning of their patterns."""

    def __init__(self, rules: Iterable[tuple[str, str]]) -> None:
        """Use rules of (pattern, value), in their order; the same rule twice counts once."""
        self._plain: dict[str, list[Rule]] = {}
        self._exact: dict[str, list[Rule]] = {}
        self._wild: dict[str, list[_Rest]] = {}
        self.size = 0  # about how many bytes it takes in memory
        for number, (pattern, value) in enumerate(dict.fromkeys(rules)):
            whole = _comparable(pattern)
            rule = Rule(number, pattern, len(whole), value)
            is_anchored = whole.endswith("$")
            # Elsewhere a $ stands for itself, as in _path_of.
            head, star, rest = whole.removesuffix("$").replace("$", _DOLLAR).partition("*")
            if star:
                parts = tuple(filter(None, rest.split("*")))
                ends = is_anchored and bool(rest) and not rest.endswith("*")  # otherwise anything may follow
                self._wild.setdefault(head, []).append(_Rest(parts, ends, rule))
            else:
                (self._exact if is_anchored else self._plain).setdefault(head, []).append(rule)
            self.size += _BYTES_OF_RULE + _BYTES_OF_CHARACTER * len(whole)
        self._lengths = sorted({len(head) for head in (*self._plain, *self._wild)})

    def __bool__(self) -> bool:
        """Return whether there are any rules."""
        return bool(self._lengths or self._exact)

    def matching(self, url: str) -> list[Rule]:
        """Return the rules that match a URL. Raises UndecidableError."""
        if not self:
            return []
        path = _path_of(url)
        if len(path) > MAX_PATH:
            raise UndecidableError(f"its path has {len(path)} characters")
        found, work = list(self._exact.get(path, ())), 0
        for length in self._lengths:
            if length > len(path):
                break
            head = path[:length]
            found += self._plain.get(head, ())
            for rest in self._wild.get(head, ()):
                work += rest.work(len(path) - length)
                if work > MAX_WORK:
                    raise UndecidableError("too many rules with wildcards could match it")
                if follows(path, length, rest):
                    found.append(rest.rule)
        return found

    def longest(self, url: str) -> list[Rule]:
        """Return the matching rules with the longest pattern, which are several only if their values differ.

        Raises UndecidableError.
        """
        if not (found := self.matching(url)):
            return []
        most = max(rule.length for rule in found)
        return [rule for rule in found if rule.length == most]


def follows(path: str, at: int, rest: _Rest) -> bool:
    """Return whether the parts are in the path, from there on, one after another; the leftmost place is enough."""
    parts = rest.parts[:-1] if rest.is_anchored else rest.parts
    for part in parts:
        at = path.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return not rest.is_anchored or (path.endswith(rest.parts[-1]) and len(path) - len(rest.parts[-1]) >= at)


@short_cache(16, URL_LENGTH)
def _path_of(url: str) -> str:
    """Return path and query of a URL, as they are compared: a * or $ in them is not a wildcard.

    It is cached, because several files are applied to the same URL one after another.
    """
    path = parts_of(web_url(url) or url)[2]
    if len(path) > MAX_PATH:
        return path
    return _comparable(path).replace("*", "%2A").replace("$", _DOLLAR)


def _comparable(path: str) -> str:
    encoded = path if path.isascii() and path.isalnum() else quote(path, safe=_SAFE, errors="replace")
    return _ENCODED.sub(_decoded, encoded) if "%" in encoded else encoded


def _decoded(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if _UNRESERVED.match(character) else found[0].upper()
