"""Where crawl files are the input: which of several captures of a URL are documents."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from schemas.document import RejectedDocument
from schemas.page import Page
from schemas.reasons import Reason


def decide_captures(captures: Iterable[tuple[str, Page | RejectedDocument]]) -> Iterator[Page | RejectedDocument]:
    """Give each of (source, outcome) its verdict, of all captures of their URLs.

    Of captures with the same URL and time the first by source counts, the others are duplicates. Captures of a URL at
    several times are documents each, marked `could_have_url_duplicate`.
    """
    ordered = sorted(captures, key=lambda capture: capture[0])
    keys_of_url: dict[str, set[str]] = defaultdict(set)
    for _, outcome in ordered:
        keys_of_url[outcome.url].add(outcome.key)
    first: dict[str, str] = {}
    for source, outcome in ordered:
        # What could not be read as far as URL and time has no key, and is no duplicate.
        if outcome.key and first.setdefault(outcome.key, source) != source:
            detail = f"same URL and time as {first[outcome.key]}"
            yield RejectedDocument(outcome.key, outcome.url, source, Reason.DUPLICATE_DOCUMENT.value, detail)
        elif isinstance(outcome, Page):
            yield replace(outcome, could_have_url_duplicate=len(keys_of_url[outcome.url]) > 1)
        else:
            yield outcome
