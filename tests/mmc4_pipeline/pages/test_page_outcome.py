"""Outcomes of pages are the same after packing and unpacking."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.page_outcome import pack, unpack
from schemas.document import RejectedDocument
from schemas.page import ImageLink, OutcomeKind, Page
from schemas.reasons import Reason
from tests.mmc4_pipeline.pages.test_page import LOCATION

TEXT = st.text(max_size=30)
POSITION = b"0123456789abcdef"


@given(st.lists(TEXT, max_size=5), TEXT, st.none() | st.integers(0, 10**6))
def test_pages_and_their_contents_come_back(sentences: list[str], alt: str, width: int | None) -> None:
    links = [ImageLink(0, f"https://a.example/{alt}", alt, width, None, reason=Reason.URL_TOKEN)]
    page = Page("k", LOCATION.url, LOCATION.site, LOCATION.fetch_time, True, sentences, links)
    for kind, value in ((OutcomeKind.PAGE, page), (OutcomeKind.CONTENT, PageContent(LOCATION, links, "text"))):
        packed = pack(POSITION, kind, value, "c4:7")
        assert (packed.position, packed.kind, packed.source, unpack(packed)) == (POSITION, kind, "c4:7", value)


def test_rejects_and_counts_come_back() -> None:
    reject = RejectedDocument("k", "https://a.example/", "c4:7", "no_text", "none")
    assert unpack(pack(POSITION, OutcomeKind.REJECT, reject)) == reject
    counts = {"lines": {"in": 2, "kept": 1, "dropped": {"too_few_words": 1}}}
    assert unpack(pack(POSITION, OutcomeKind.COUNTS, counts)) == counts


def test_half_a_character_costs_no_page() -> None:
    broken = pack(POSITION, OutcomeKind.CONTENT, PageContent(replace(LOCATION, source="\ud800"), [], "a\ud800b"))
    assert unpack(broken).text == "a?b"
