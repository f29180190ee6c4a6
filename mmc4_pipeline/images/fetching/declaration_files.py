"""Reads the files in which a host declares how its content may be used: ai.txt and tdmrep.json.

What can't be read declares nothing: the W3C's specification says so for tdmrep.json, and that of ai.txt says nothing.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol, Self

import orjson

from mmc4_pipeline.images.fetching.path_rules import PathRules, UndecidableError
from mmc4_pipeline.images.fetching.robots import MAX_BYTES, Robots
from schemas.declarations import AI_TXT, TDM_FILE

_RESERVED = (1, "1")
_VALID = (0, "0", *_RESERVED)


class DeclarationFile(Protocol):
    """A file of a host that was read."""

    @property
    def size(self) -> int:
        """Return about how many bytes it takes in memory."""

    def declarations(self, url: str) -> list[str]:
        """Return what the file declares about what is at a URL of its host."""


@dataclass(frozen=True, slots=True)
class AiTxt:
    """Spawning's ai.txt: the groups and rules of robots.txt, for use by AI instead of for requests."""

    rules: Robots

    @classmethod
    def read(cls, body: bytes, names: Collection[str]) -> Self:
        """Read a file, whatever it contains."""
        return cls(Robots.read(body, names))

    @property
    def size(self) -> int:
        """Return about how many bytes it takes in memory."""
        return self.rules.size

    def declarations(self, url: str) -> list[str]:
        """Return the rule that disallows a URL, if one does."""
        pattern = self.rules.refusing_pattern(url)
        return [] if pattern is None else [f"{AI_TXT}: Disallow: {pattern}"]


@dataclass(frozen=True, slots=True)
class Tdmrep:
    """The rules of W3C's TDM Reservation Protocol, "TDM File on the Origin Server": the first that matches counts."""

    rules: PathRules

    @classmethod
    def read(cls, body: bytes, _names: Collection[str]) -> Self:
        """Read a file, whatever it contains; rules without a location or a valid value are left out."""
        try:
            found = orjson.loads(body[:MAX_BYTES].removeprefix(b"\xef\xbb\xbf"))
        except ValueError:
            found = []
        rules = found if isinstance(found, list) else [found]
        return cls(PathRules((rule["location"], _value(rule)) for rule in rules if _is_rule(rule)))

    @property
    def size(self) -> int:
        """Return about how many bytes it takes in memory."""
        return self.rules.size

    def declarations(self, url: str) -> list[str]:
        """Return the rule that reserves the rights for a URL, if one does."""
        try:
            first = min(self.rules.matching(url), key=lambda rule: rule.number, default=None)
        except UndecidableError:
            return []
        return [f"{TDM_FILE}: 1, location {first.pattern}"] if first is not None and first.value == "1" else []


def _is_rule(rule: Any) -> bool:
    return isinstance(rule, dict) and isinstance(rule.get("location"), str)


def _value(rule: dict[str, Any]) -> str:
    value = rule.get("tdm-reservation")
    return str(value) if value in _VALID and not isinstance(value, bool | float) else ""


Reader = Callable[[bytes, Collection[str]], DeclarationFile]
READERS: dict[str, Reader] = {"/ai.txt": AiTxt.read, "/.well-known/tdmrep.json": Tdmrep.read}  # by path
