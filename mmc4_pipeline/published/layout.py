"""What the layouts of published datasets have in common: the documents that they give, and checks of their values."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from typing import Any, ClassVar

Row = Mapping[str, Any]

UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)  # the time of a document whose dataset does not say when it was crawled
_WARC_TIME = re.compile(r"CC-MAIN-(\d{14})-")
_CRAWL_WEEK = re.compile(r"CC-MAIN-(\d{4})-(\d{2})(?!\d)")


class InvalidRowError(Exception):
    """A row that is not a document of its layout; the message says why."""


class Kind(StrEnum):
    """The kind of a field's values."""

    TEXT = "text"
    LIST = "list"
    OBJECT = "object"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class PublishedImage:
    """An image of a published document.

    `width` and `height` are those that the page declared, in CSS pixels. `after_sentence` is the number of the last
    sentence before the image, -1 if there is none, and null if the dataset has no places. `sentence` and `similarity`
    are the publisher's assignment.
    """

    url: str
    alt: str = ""
    width: int | None = None
    height: int | None = None
    after_sentence: int | None = None
    sentence: int | None = None
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class PublishedDocument:
    """A document as it was published. `text` has its text in lines, `images` are in the publisher's order.

    `crawled` is about when its page was crawled.
    """

    url: str
    text: str
    sentences: list[str]
    images: list[PublishedImage]
    crawled: datetime = UNKNOWN
    could_have_url_duplicate: bool = False


class Layout(ABC):
    """A layout. Its files have all of `fields`, and may have `optional` ones that are read too.

    A dot leads into a nested field; nothing else of that field is read from Parquet. `has_places` is whether it says
    where the images are between the sentences.
    """

    name: ClassVar[str]
    fields: ClassVar[Mapping[str, Kind]]
    optional: ClassVar[tuple[str, ...]] = ()
    has_places: ClassVar[bool] = True

    @abstractmethod
    def document(self, row: Row, path: str) -> PublishedDocument:
        """Return the document of a row or line of the file at that path; raises InvalidRowError if it is invalid."""


def text_of(row: Row, name: str) -> str:
    """Return the value of a field that must be a text; raises InvalidRowError if it is not."""
    value = row.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidRowError(f"field {name!r} is missing or not a text")
    return value


def list_of(row: Row, name: str) -> list[Any]:
    """Return the value of a field that must be a list; raises InvalidRowError if it is not."""
    value = row.get(name)
    if not isinstance(value, list):
        raise InvalidRowError(f"field {name!r} is missing or not a list")
    return value


def similarity_of(value: Any) -> float | None:
    """Return a cosine similarity, None if the value is not one."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and isfinite(value) and -1 <= value <= 1 else None


def crawl_time(name: str) -> datetime:
    """Return the time in the name of a WARC file, or the week in the name of a crawl of Common Crawl."""
    try:
        if found := _WARC_TIME.search(name):
            return datetime.strptime(found[1], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        if found := _CRAWL_WEEK.search(name):
            return datetime.fromisocalendar(int(found[1]), int(found[2]), 1).replace(tzinfo=UTC)
    except ValueError:  # a month 13 or a week 99
        pass
    return UNKNOWN
