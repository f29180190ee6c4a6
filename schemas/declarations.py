"""Declarations: what a page, an image's server or a file of its host says about the use of its content.

A declaration is one line, the place and name of what was found and its value:

| declaration | of | found in |
|---|---|---|
| `meta robots: noai` | pages | a `meta` tag of that name |
| `header tdm-reservation: 1` | pages, images | a header of the response |
| `robots.txt content-usage: train-ai=n` | images | the rule of robots.txt for the image's URL |
| `tdmrep.json: 1, location /photos/` | images | the rule of /.well-known/tdmrep.json for it |
| `ai.txt: Disallow: *.jpg` | images | the rule of /ai.txt for it |
"""

from collections.abc import Iterable, Iterator

ROBOTS_TAG = "header x-robots-tag"
TDM_HEADER, TDM_META, TDM_FILE = "header tdm-reservation", "meta tdm-reservation", "tdmrep.json"
USAGE_HEADER, USAGE_RULE = "header content-usage", "robots.txt content-usage"
AI_TXT = "ai.txt"
META = "meta "

MAX_DECLARATIONS = 16  # of one page or image
MAX_CHARACTERS = 1000  # of one declaration


def bounded(declarations: Iterable[str]) -> list[str]:
    """Return the first distinct declarations, each on one line and within bounds.

    One that is too long is left out: the beginning of a value can say something else than the whole.
    """
    lines = (" ".join(line.split()) for line in declarations if len(line) <= MAX_CHARACTERS)
    return list(dict.fromkeys(lines))[:MAX_DECLARATIONS]


def declared(declarations: Iterable[str], *names: str) -> Iterator[tuple[str, str]]:
    """Yield each declaration of one of these names, and its value."""
    for line in declarations:
        name, _, value = line.partition(":")
        if name in names:
            yield line, value.strip()
