"""C4 documents, as allenai/c4 publishes them (one JSON object per line: `text`, `timestamp`, `url`)."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Document:
    """One C4 document. `key` identifies it everywhere: 32 hex digits of a hash of URL and fetch time."""

    key: str
    url: str
    timestamp: datetime
    text: str


@dataclass(frozen=True, slots=True)
class DocumentReference:
    """A document without its text, but with its place: this is joined with the index.

    `crawl` is its crawl and `warc` the WARC file of its page, below Common Crawl's root; each is empty if not known.
    """

    key: str
    url: str
    timestamp: datetime
    source: str  # "path:line"
    crawl: str = ""
    warc: str = ""


@dataclass(frozen=True, slots=True)
class RejectedDocument:
    """A document that a stage dropped, with the details that a person needs to look it up."""

    key: str
    url: str
    source: str  # "path:line" of C4, or file and offset of its WARC record
    reason: str
    detail: str
    filter: str | None = None  # the key in the recipe of the filter that dropped it, null if none did
