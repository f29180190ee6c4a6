"""Decide which of several captures of a URL are documents, for input from WARC files and from published datasets."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from schemas.document import RejectedDocument
from schemas.page import Page
from schemas.reasons import Reason


def decide_captures(captures: Iterable[tuple[str, Page | RejectedDocument]]) -> Iterator[Page | RejectedDocument]:
    """Decide about each (source, outcome); `captures` has all captures of their URLs.

    Of captures with the same key (URL and time, or in a published dataset the content), the first by source is a
    document and the others are duplicates. All captures of a URL with other keys are documents, marked with
    `could_have_url_duplicate`.
    """
    ordered = sorted(captures, key=lambda capture: capture[0])
    keys_of_url: dict[str, set[str]] = defaultdict(set)
    for _, outcome in ordered:
        keys_of_url[outcome.url].add(outcome.key)
    first: dict[str, str] = {}
    for source, outcome in ordered:
        # A capture whose URL or time could not be read has no key, and is not a duplicate.
        if outcome.key and first.setdefault(outcome.key, source) != source:
            detail = f"the same document as {first[outcome.key]}"
            yield RejectedDocument(outcome.key, outcome.url, source, Reason.DUPLICATE_DOCUMENT.value, detail)
        elif isinstance(outcome, Page):
            marked = outcome.could_have_url_duplicate or len(keys_of_url[outcome.url]) > 1
            yield replace(outcome, could_have_url_duplicate=marked)
        else:
            yield outcome
