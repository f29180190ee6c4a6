"""Reads the directives of an X-Robots-Tag header or a robots meta tag.

The grammar is the one that Google documents ("Robots meta tag, data-nosnippet, and X-Robots-Tag specifications").
"""

import re
from collections.abc import Iterator

# Directives with a value: their colon does not follow an agent's name.
_WITH_VALUE = ("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after")
_AGENT = re.compile(r"\*|[a-z_][a-z0-9_.-]*")


def directives(value: str) -> Iterator[tuple[str | None, str]]:
    """Yield each directive without a value, in lower case, after the agent that it addresses, None if none is named.

    An agent's name holds for all directives after it.
    """
    agent: str | None = None
    for part in value.lower().split(","):
        name, colon, rest = (word.strip() for word in part.partition(":"))
        if colon and name in _WITH_VALUE:
            continue
        is_named = bool(colon) and _AGENT.fullmatch(name) is not None
        if is_named:
            agent = name
        if rest.partition(":")[0].strip() not in _WITH_VALUE:  # as in "otherbot: max-image-preview:none"
            yield agent, rest if is_named else part.strip()
