"""The join of documents with captures: the exact one, or the nearest allowed, and every document accounted for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.commoncrawl.locate import locate
from mmc4_pipeline.naming import document_key
from schemas.capture import Capture
from schemas.document import DocumentReference
from schemas.reasons import Reason

START = datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)


def document(url: str, second: int = 0, source: str = "c4:1") -> DocumentReference:
    moment = START + timedelta(seconds=second)
    return DocumentReference(document_key(url, moment), url, moment, source)


def capture(url: str, second: float = 0, file: str = "a.warc.gz", offset: int = 0) -> Capture:
    return Capture(url, START + timedelta(seconds=second), file, offset, 10)


def test_a_document_gets_the_capture_of_its_second() -> None:
    captures = [capture("https://www.example.com/", second, offset=second) for second in (-1, 0, 1)]
    (location,) = locate([document("https://www.example.com/", source="c4:7")], captures).locations
    assert (location.offset, location.length, location.warc_filename) == (0, 10, "a.warc.gz")
    assert (location.site, location.source) == ("example.com", "c4:7")
    assert location.timestamp == location.fetch_time == START


def test_fractions_of_a_second_in_the_index_do_not_matter() -> None:
    (location,) = locate([document("u")], [capture("u", 0.75)]).locations
    assert location.fetch_time == START + timedelta(seconds=0.75)
    assert location.timestamp == START


def test_a_url_captured_once_has_no_duplicate_and_one_captured_twice_may() -> None:
    documents = [document("once"), document("twice")]
    captures = [capture("once"), capture("twice"), capture("twice", 3600)]
    locations = locate(documents, captures).locations
    assert {item.url: item.could_have_url_duplicate for item in locations} == {"once": False, "twice": True}


def test_of_a_known_crawl_or_file_only_captures_there_count() -> None:
    first, second = (
        f"crawl-data/{crawl}/segments/1/warc/a.warc.gz" for crawl in ("CC-MAIN-2013-20", "CC-MAIN-2023-50")
    )
    captures = [capture("url", 0, first, 1), capture("url", 0, second, 2), capture("url", 9, second, 3)]
    old = replace(document("url"), crawl="CC-MAIN-2013-20")
    new = replace(document("url"), crawl="CC-MAIN-2023-50")
    in_file = replace(document("url", 5), crawl="CC-MAIN-2013-20", warc=first)
    found = [locate([item], captures).locations for item in (old, new, in_file)]
    assert [(item.offset, item.seconds_apart, item.could_have_url_duplicate) for (item,) in found] == [
        (1, 0, False),
        (2, 0, True),
        (1, 5, False),
    ]
    (reject,) = locate([replace(document("url"), crawl="CC-MAIN-2013-20", warc=f"{first}x")], captures).rejects
    assert f"{first}x" in reject.detail
    (reject,) = locate([replace(document("url"), crawl="CC-MAIN-2014-10")], captures).rejects
    assert "CC-MAIN-2014-10" in reject.detail


def test_what_is_not_in_the_index_and_what_is_there_at_other_times_is_told_apart() -> None:
    result = locate([document("gone"), document("late")], [capture("late", 3600), capture("late", -60)])
    assert result.locations == []
    details = {reject.url: (reject.reason, reject.detail) for reject in result.rejects}
    assert details["gone"] == (Reason.NOT_LOCATED, "the URL is not in the index")
    assert details["late"] == (
        Reason.NOT_LOCATED,
        "captured at other times only, the nearest 60 seconds apart: 2019-04-25T12:56:54Z, 2019-04-25T13:57:54Z",
    )


def test_of_many_other_times_the_nearest_are_named() -> None:
    (reject,) = locate([document("u")], [capture("u", 60 * minute, offset=minute) for minute in range(1, 9)]).rejects
    assert reject.detail.endswith("13:00:54Z, 2019-04-25T13:01:54Z, 2019-04-25T13:02:54Z and 3 more")


def test_the_nearest_capture_within_the_span_is_taken_and_marked() -> None:
    captures = [capture("u", -61, offset=1), capture("u", 60.9, offset=2), capture("u", 3600, offset=3)]
    assert locate([document("u")], captures, 59).locations == []
    (location,) = locate([document("u")], captures, 60).locations
    assert (location.offset, location.seconds_apart, location.could_have_url_duplicate) == (2, 60, True)
    assert location.timestamp == START
    (exact,) = locate([document("u", 3600)], captures, 10**6).locations
    assert (exact.offset, exact.seconds_apart) == (3, 0)


def test_of_two_captures_as_near_the_earlier_is_taken() -> None:
    captures = [capture("u", 5, "a", 1), capture("u", -5, "z", 9), capture("u", -5, "z", 8)]
    (location,) = locate([document("u")], captures, 5).locations
    assert location.offset == 8


def test_a_capture_goes_to_its_own_document_before_another_of_the_url() -> None:
    result = locate([document("u"), document("u", 60)], [capture("u", 60)], 3600)
    assert [(item.timestamp, item.seconds_apart) for item in result.locations] == [(START + timedelta(seconds=60), 0)]
    (reject,) = result.rejects
    assert reject.detail.endswith("other documents of the URL: 2019-04-25T12:58:54Z")


def test_a_row_that_the_index_has_twice_is_one_capture() -> None:
    (location,) = locate([document("u")], [capture("u"), capture("u")]).locations
    assert not location.could_have_url_duplicate


def test_of_duplicate_lines_the_earlier_counts_also_where_numbers_grow() -> None:
    result = locate([document("u", source="c4:10"), document("u", source="c4:9")], [capture("u")])
    assert [item.source for item in result.locations] == ["c4:9"]


def test_of_duplicate_lines_the_first_counts() -> None:
    result = locate([document("u", source="c4:9"), document("u", source="c4:2")], [capture("u")])
    assert [item.source for item in result.locations] == ["c4:2"]
    assert [(item.source, item.reason) for item in result.rejects] == [("c4:9", Reason.DUPLICATE_DOCUMENT)]


def test_the_same_url_at_two_times_is_two_documents() -> None:
    result = locate([document("u"), document("u", 60)], [capture("u", offset=1), capture("u", 60, offset=2)])
    assert {item.timestamp: item.offset for item in result.locations} == {
        START: 1,
        START + timedelta(seconds=60): 2,
    }


urls = st.sampled_from(["u", "v", "w"])
documents = st.builds(document, urls, st.integers(0, 3), st.sampled_from(["c4:1", "c4:2"]))
captures = st.builds(capture, urls, st.integers(0, 3), st.sampled_from(["a", "b"]), st.integers(0, 3))


@given(st.lists(documents, max_size=12), st.lists(captures, max_size=12), st.integers(0, 3), st.randoms())
def test_every_document_ends_once_and_the_order_of_the_input_does_not_matter(
    documents: list[DocumentReference], captures: list[Capture], limit: int, random: object
) -> None:
    result = locate(documents, captures, limit)
    assert len(result.locations) + len(result.rejects) == len(documents)
    known = {(item.url, item.fetch_time) for item in captures}
    wanted = {(item.url, item.timestamp) for item in documents}
    exact = {(item.url, item.timestamp) for item in result.locations if item.seconds_apart == 0}
    assert exact == known & wanted
    used = [Capture(item.url, item.fetch_time, item.warc_filename, item.offset, 10) for item in result.locations]
    assert len(set(used)) == len(used)
    assert set(used) <= set(captures)
    for item in result.locations:
        assert abs(item.fetch_time - item.timestamp) == timedelta(seconds=item.seconds_apart)
        assert item.seconds_apart <= limit
    for reject in result.rejects:  # no document is rejected while a capture near enough remains
        moment = next(item.timestamp for item in documents if item.key == reject.key)
        span = timedelta(seconds=limit)
        near = {item for item in captures if item.url == reject.url and abs(item.fetch_time - moment) <= span}
        assert reject.reason == Reason.DUPLICATE_DOCUMENT or near <= set(used)
    random.shuffle(documents)  # type: ignore[attr-defined]
    random.shuffle(captures)  # type: ignore[attr-defined]
    assert locate(documents, captures, limit) == result
