"""Sentences of C4 texts, and the page records with them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.curly_bracket import CurlyBracket
from filters.sentences import Sentences
from filters.url import Url
from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.page import make_page
from mmc4_pipeline.pages.sentences import MAX_CHARACTERS, sentences_of
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.page import ImageLink, Page
from schemas.reasons import Reason

MOMENT = datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)
LOCATION = Location("k", "https://a.example/", MOMENT, "a.example", "c4:1", MOMENT, "f.warc.gz", 77, 9, True)


def link(url: str, position: int = 0) -> ImageLink:
    return ImageLink(position, url, "", None, None)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It rained. Dr. Smith went home at 5 p.m. by train.", 2),
        ("It cost $3.50 in the U.S. last year! Did it?", 2),
        ("A heading\nA paragraph without an end\nAnd one more.", 3),
        ("", 0),
        (" \n\t\n ", 0),
    ],
)
def test_sentences(text: str, sentences: int) -> None:
    found = sentences_of(text)
    assert len(found) == sentences
    assert " ".join(found).split() == text.split()


@given(st.text("ab .!?\n\"'(Dr)é—1", max_size=120))
def test_no_word_is_lost_and_no_sentence_crosses_a_line(text: str) -> None:
    found = sentences_of(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" and "\n" not in sentence for sentence in found)


def test_an_endless_line_is_split_in_bounded_time_and_kept_whole() -> None:
    text = "word " * (MAX_CHARACTERS // 2)
    assert "".join("".join(sentences_of(text)).split()) == "word" * (MAX_CHARACTERS // 2)


def test_a_page_keeps_all_links_with_the_first_filters_verdict() -> None:
    found = PageContent(LOCATION, [link("https://a.example/logo.gif"), link("https://a.example/a.gif", 1)])
    page = make_page(found, "One. Two.", {"words": Url(("gif",), ("logo",)), "types": Url(("png",), ())})
    assert isinstance(page, Page)
    assert [(item.position, item.reason, item.filter) for item in page.links] == [
        (0, Reason.URL_TOKEN, "words"),
        (1, Reason.URL_EXTENSION, "types"),
    ]
    assert (page.key, page.url, page.site) == ("k", "https://a.example/", "a.example")
    assert page.sentences == ["One.", "Two."]
    assert page.could_have_url_duplicate


def test_a_document_is_dropped_for_the_first_text_filter_s_reason() -> None:
    filters = {"sentences": Sentences(3), "curly_bracket": CurlyBracket()}
    found = PageContent(LOCATION, [])
    assert isinstance(make_page(found, "One. Two. Three.", {}, filters), Page)
    few = make_page(found, "One. {Two}.", {}, filters)
    assert isinstance(few, RejectedDocument)
    assert (few.reason, few.filter, few.detail) == (Reason.TOO_FEW_SENTENCES, "sentences", "filters.sentences min: 3")
    code = make_page(found, "One. {Two}. Three.", {}, filters)
    assert isinstance(code, RejectedDocument)
    assert (code.reason, code.filter, code.detail) == (Reason.CURLY_BRACKET, "curly_bracket", "filters.curly_bracket")


def test_a_document_without_a_sentence_is_dropped_by_name() -> None:
    rejected = make_page(PageContent(LOCATION, []), " \n ", {})
    assert isinstance(rejected, RejectedDocument)
    assert (rejected.reason, rejected.filter, rejected.url) == (Reason.NO_TEXT, None, "https://a.example/")
    assert rejected.source == "f.warc.gz@77"
