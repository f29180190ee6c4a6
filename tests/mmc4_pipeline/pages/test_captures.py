"""Several captures of a URL: which of them are documents."""

from dataclasses import replace

from mmc4_pipeline.pages.captures import decide_captures
from schemas.document import RejectedDocument
from schemas.page import Page
from schemas.reasons import Reason
from tests.pages import new_page

PAGE = new_page("k1", url="https://a.example/")


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
