"""Captures: where Common Crawl stores the response of a URL at a time (the columnar index, `cc-index-table`)."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Capture:
    """One row of the columnar index: a gzip member in a WARC file. `offset` and `length` are in bytes."""

    url: str
    fetch_time: datetime
    warc_filename: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Location:
    """A document and the capture of its page: what the locate stage writes.

    `site` is the registered domain; `could_have_url_duplicate` is true if the URL was captured more than once in
    the crawl, so that text and page may come from different visits (MMC4's field of the same name). `seconds_apart` is
    the time between the document and the capture: 0 for an exact match, more for the nearest one within the recipe's
    limit.
    """

    key: str
    url: str
    timestamp: datetime
    site: str
    source: str
    fetch_time: datetime
    warc_filename: str
    offset: int
    length: int
    could_have_url_duplicate: bool
    seconds_apart: int = 0
