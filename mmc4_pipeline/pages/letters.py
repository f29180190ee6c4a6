"""Reduce texts to their letters and digits, so that a document's text can be found in that of its page."""

import re
import unicodedata

MARK = "\0"  # in a text, becomes SEPARATOR; it cannot be in the text of an HTML page, where parsers replace it
SEPARATOR = " "

_ASCII = bytes(range(128))
_DELETED = bytes(byte for byte in _ASCII if not chr(byte).isalnum() and chr(byte) != MARK)
_LOWER = bytes(range(256)).lower().replace(MARK.encode(), SEPARATOR.encode())
_BEYOND_ASCII = re.compile(r"[^\0-\x7f]+")
_CITATION = re.compile(r"\[(?:\d*|edit|citation needed)\]")  # C4's texts do not have these


def letters(text: str) -> str:
    """Return the letters and digits of a text, in lower case and without accents, and a space for each MARK.

    Characters are compared by their compatibility decomposition. Everything that is not a letter or digit is removed
    before that, because ordering many combining marks takes quadratic time.
    """
    if "[" in text:
        text = _CITATION.sub("", text)
    kept = text.encode("utf-8", "ignore").translate(_LOWER, _DELETED).decode("utf-8")
    return kept if kept.isascii() else _BEYOND_ASCII.sub(_decomposed, kept)


def _decomposed(found: re.Match[str]) -> str:
    """Return the letters and digits of some characters that are not ASCII."""
    plain = "".join(filter(str.isalnum, found[0]))
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", plain).casefold())) if plain else ""
