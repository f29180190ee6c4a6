"""Read `srcset` attributes (WHATWG HTML, 4.8.4.3.13 "Parsing a srcset attribute")."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

MAX_CANDIDATES = 1000  # per attribute; real ones have a dozen

# Possessive throughout, so that each character is looked at once. A comma inside parentheses separates nothing.
_URL = re.compile(r"[ \t\n\f\r,]*+([^ \t\n\f\r]++)")
_DESCRIPTORS = re.compile(r"(?:[^,(]++|\([^)]*+\)?+)*+")
_DESCRIPTOR = re.compile(r"(?:(?P<w>0*[1-9][0-9]{0,6})w|(?P<h>0*[1-9][0-9]{0,6})h|(?P<x>[0-9]{0,6}\.?[0-9]{1,9})x)")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One image of a srcset: its unresolved URL, and its width in pixels or its density, never both."""

    url: str
    width: int | None
    density: float | None

    @property
    def size(self) -> tuple[int, float]:
        """The key by which candidates are compared: a width ranks above any density, and no descriptor means 1x."""
        return self.width or 0, 1.0 if self.density is None else self.density


def parse_srcset(text: str) -> Iterator[Candidate]:
    """Yield the candidates in order; a candidate with a descriptor that the specification forbids is skipped."""
    return islice(_candidates(text), MAX_CANDIDATES)


def _candidates(text: str) -> Iterator[Candidate]:
    at = 0
    while found := _URL.match(text, at):
        url, at = found.group(1), found.end()
        descriptors = ""
        if url.endswith(","):
            url = url.rstrip(",")
        elif rest := _DESCRIPTORS.match(text, at):
            descriptors, at = rest.group(), rest.end()
        candidate = _candidate(url, descriptors) if url else None
        if candidate:
            yield candidate


def _candidate(url: str, descriptors: str) -> Candidate | None:
    seen: dict[str, str] = {}
    for descriptor in descriptors.split():
        found = _DESCRIPTOR.fullmatch(descriptor)
        kind = found.lastgroup if found else None
        if found is None or kind is None or kind in seen:
            return None
        seen[kind] = found[kind]
    if ("x" in seen and len(seen) > 1) or ("h" in seen and "w" not in seen):
        return None
    width = int(seen["w"]) if "w" in seen else None
    density = float(seen["x"]) if "x" in seen else None
    return Candidate(url, width, density)
