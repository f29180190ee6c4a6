"""A parser that fails on a page costs that page; a failure of the machine or the storage ends the stage."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from mmc4_pipeline.commoncrawl.by_range import pages_by_range
from mmc4_pipeline.commoncrawl.by_scan import pages_by_scan
from mmc4_pipeline.commoncrawl.from_warcs import documents_of_warc
from mmc4_pipeline.errors import PermanentReadError, UserError
from mmc4_pipeline.naming import document_key, site_of
from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.guard import guarded
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.recipe import LinkSettings
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason
from schemas.statistics import Counts
from tests.mmc4_pipeline.commoncrawl.conftest import MOMENT, Crawl
from tests.mmc4_pipeline.file_server import INPUTS

URL = "https://a.example/"
LOCATION = Location(document_key(URL, MOMENT), URL, MOMENT, site_of(URL), "c4:1", MOMENT, "a.warc.gz", 5, 10, False)


def endless() -> Any:
    return endless()


FAILURES: dict[str, Callable[[], Any]] = {
    "ValueError": lambda: int("9" * 5000),
    "OverflowError": lambda: float(10**400),
    "RecursionError": endless,
    "UnicodeEncodeError": "\ud800".encode,
    "UnicodeDecodeError": b"\xff".decode,
    "KeyError": lambda: {}["href"],
    "AttributeError": lambda: getattr(None, "headers"),  # noqa: B009
    "ZeroDivisionError": lambda: 1 // 0,
}


@pytest.mark.parametrize("name", FAILURES)
def test_any_failure_of_a_parser_is_one_rejected_document(name: str) -> None:
    found = guarded(LOCATION, FAILURES[name])
    assert isinstance(found, RejectedDocument)
    assert (found.key, found.source, found.reason) == (LOCATION.key, "a.warc.gz@5", Reason.PAGE_UNREADABLE)
    assert name in found.detail


def test_a_message_that_quotes_the_page_is_cut() -> None:
    found = guarded(LOCATION, lambda: int("x" * 100_000))
    assert isinstance(found, RejectedDocument)
    assert len(found.detail) < 1000


@pytest.mark.parametrize(
    "failure", [MemoryError, KeyboardInterrupt, SystemExit, UserError, PermanentReadError, OSError, ConnectionError]
)
def test_other_failures_are_never_hidden(failure: type[BaseException]) -> None:
    def fail() -> None:
        raise failure

    with pytest.raises(failure):
        guarded(LOCATION, fail)


class Fragile(PageReader):
    """A reader with a parser that fails on some pages."""

    def read(
        self, location: Location, content_type: str, body: bytes, declarations: Sequence[str] = ()
    ) -> PageContent | RejectedDocument:
        if b"bad" in body:
            endless()
        return super().read(location, content_type, body, declarations)


READER = Fragile(LinkSettings())


def by_warcs(crawl: Any) -> Iterator[PageContent | RejectedDocument]:
    return documents_of_warc(INPUTS, str(crawl.path), READER, Counts())


def by_range(crawl: Any) -> Iterator[PageContent | RejectedDocument]:
    return pages_by_range(INPUTS, str(crawl.root), crawl.locations[0].warc_filename, crawl.locations, READER)


def by_scan(crawl: Any) -> Iterator[PageContent | RejectedDocument]:
    return pages_by_scan(INPUTS, str(crawl.root), crawl.locations[0].warc_filename, crawl.locations, READER)


@pytest.mark.parametrize("read", [by_warcs, by_range, by_scan])
def test_the_pages_after_it_are_read(tmp_path: Any, read: Callable[[Any], Iterator[Any]]) -> None:
    crawl = Crawl(tmp_path)
    for number, word in enumerate((b"good", b"bad", b"good", b"bad")):
        crawl.write(f"https://a.example/{number}", b"<p>" + word)
    found = list(read(crawl))
    assert [type(item) for item in found] == [PageContent, RejectedDocument] * 2
    assert all("RecursionError" in item.detail for item in found if isinstance(item, RejectedDocument))
