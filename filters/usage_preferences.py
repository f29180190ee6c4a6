"""Reads statements of preference in the vocabulary of the IETF's AI Preferences working group.

See draft-ietf-aipref-vocab, "Exemplary Serialization Format": a dictionary of structured fields (RFC 9651, section 3.2)
from usage categories to `y` or `n`, such as `train-ai=n, search=y`.
"""

from collections.abc import Collection
from typing import Any

import http_sf

# The categories that cover training a model on images and texts: those of the current draft, and those of earlier ones
# (draft-ietf-aipref-vocab-00 to -04), which sites still send.
TRAINING = ("train-ai", "train-genai", "ai", "genai", "tdm", "bots")


def disallows(statement: str, categories: Collection[str]) -> bool:
    """Return whether a statement disallows one of the categories; one that can't be read states nothing."""
    try:
        found: Any = http_sf.parse(statement.encode("ascii"), tltype="dictionary")
    except ValueError:  # UnicodeEncodeError and http_sf.StructuredFieldError among them
        return False
    values = (found[name][0] for name in categories if name in found)
    return any(isinstance(value, http_sf.Token) and str(value) == "n" for value in values)
