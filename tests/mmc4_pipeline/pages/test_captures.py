"""Several captures of a URL, and pages packed for the way to where that is decided."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.pages.captures import decide_captures
from mmc4_pipeline.pages.packed import pack, unpack
from schemas.document import RejectedDocument
from schemas.page import ImageLink, Page
from schemas.reasons import Reason

MOMENT = datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)
PAGE = Page(
    "k1", "https://a.example/", "a.example", MOMENT, could_have_url_duplicate=False, sentences=["One."], links=[]
)


def reject(key: str, url: str, source: str) -> RejectedDocument:
    return RejectedDocument(key, url, source, Reason.LANGUAGE.value, "")


def test_of_the_same_url_and_time_the_first_by_source_is_kept() -> None:
    other = replace(PAGE, sentences=["Two."])
    for order in ((("b@1", other), ("a@9", PAGE)), (("a@9", PAGE), ("b@1", other))):
        first, second = decide_captures(order)
        assert first == PAGE
        assert isinstance(second, RejectedDocument)
        assert (second.reason, second.source) == ("duplicate_document", "b@1")
        assert "a@9" in second.detail


def test_captures_at_other_times_are_documents_and_marked() -> None:
    later = replace(PAGE, key="k2")
    other = replace(PAGE, key="k3", url="https://a.example/other")
    outcomes = decide_captures([("a@1", PAGE), ("a@2", later), ("a@3", other)])
    assert [item.could_have_url_duplicate for item in outcomes if isinstance(item, Page)] == [True, True, False]


def test_a_capture_that_was_dropped_counts_as_one_all_the_same() -> None:
    outcomes = list(decide_captures([("a@1", PAGE), ("a@2", reject("k2", PAGE.url, "a@2"))]))
    assert outcomes == [replace(PAGE, could_have_url_duplicate=True), reject("k2", PAGE.url, "a@2")]


def test_what_has_no_key_is_no_duplicate() -> None:
    broken = [("a@1", reject("", "", "a@1")), ("b@1", reject("", "", "b@1"))]
    assert list(decide_captures(broken)) == [item for _, item in broken]


@given(st.lists(st.text(max_size=30), max_size=5), st.text(max_size=30), st.none() | st.integers(0, 10**6))
def test_a_packed_page_comes_back(sentences: list[str], alt: str, width: int | None) -> None:
    links = [ImageLink(0, f"https://a.example/{alt}", alt, width, None, reason=Reason.URL_TOKEN)]
    page = replace(PAGE, sentences=sentences, links=links)
    packed = pack(page, "a@1")
    assert (unpack(packed), packed.source) == (page, "a@1")
