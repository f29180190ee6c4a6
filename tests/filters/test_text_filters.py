"""Filters of a document's text: what they keep and drop, at their edges."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.bad_words import BadWords
from filters.base import DocumentText, FileTextFilter, TextFilter
from filters.curly_bracket import CurlyBracket
from filters.language import Language
from filters.lorem_ipsum import LoremIpsum
from filters.sentences import Sentences
from mmc4_pipeline.plug_ins import known_filters
from schemas.reasons import Reason

ENGLISH = "The weather in the valley was milder than usual, and most of the fruit trees flowered early this year."
GERMAN = "Das Wetter im Tal war milder als sonst, und die meisten Obstbäume haben in diesem Jahr früh geblüht."


def text(content: str, sentences: int = 9) -> DocumentText:
    return DocumentText(content, ["A sentence."] * sentences)


def words(*listed: str) -> TextFilter:
    return BadWords("list.txt").load({"list.txt": "\n".join(listed).encode()}.__getitem__)


@pytest.mark.parametrize(
    ("item", "content", "reason"),
    [
        (CurlyBracket(), "A text in (round) and [square] brackets, and one that only closes }.", None),
        (CurlyBracket(), "A line.\nfunction() { return 1; }", Reason.CURLY_BRACKET),
        (LoremIpsum(), "Ipsum lorem is something else.", None),
        (LoremIpsum(), "A line.\nHere Lorem IPSUM dolor sit amet.", Reason.LOREM_IPSUM),
        (Language("en", 0.99), ENGLISH, None),
        (Language("en", 0.99), GERMAN, Reason.LANGUAGE),
        (Language("de", 0.99), GERMAN, None),
        (Language("en", 0.99), "123 456.\n(7) 8!", Reason.LANGUAGE),
        (Language("en", 0.99), "", Reason.LANGUAGE),
        (words("darn", "what a pity"), "Darning a sock in Darnley.", None),
        (words("darn", "what a pity"), "darn it.", Reason.BAD_WORDS),
        (words("darn", "what a pity"), "A line.\nHe said (DARN", Reason.BAD_WORDS),
        (words("darn", "What a Pity"), "Oh, what a pity!", Reason.BAD_WORDS),
        (words("a.c", ""), "An abc of everything.", None),
        (words("", "  "), "Nothing is on that list.", None),
    ],
)
def test_text_filters(item: TextFilter, content: str, reason: Reason | None) -> None:
    assert item.decide(text(content)) == reason


def test_a_text_of_two_languages_is_not_clearly_in_either() -> None:
    mixed = text(f"{ENGLISH}\n{GERMAN}\n{ENGLISH}\n{GERMAN}")
    assert Language("en", 0.99).decide(mixed) == Reason.LANGUAGE
    assert Language("de", 0.99).decide(mixed) == Reason.LANGUAGE


def test_the_same_text_always_has_the_same_language() -> None:
    item = Language("en", 0.9)
    short = [text(content) for content in ("Chat room.", "Hotel in Berlin.", "Pain au chocolat.", "Villa Rosa, Nice.")]
    first = [item.decide(document) for document in short]
    assert all([item.decide(document) for document in short] == first for _ in range(5))


def test_sentences_are_counted() -> None:
    assert Sentences(3).decide(text("", sentences=3)) is None
    assert Sentences(3).decide(text("", sentences=2)) == Reason.TOO_FEW_SENTENCES


@given(st.text(max_size=300))
def test_no_text_stops_a_filter(content: str) -> None:
    for item in (CurlyBracket(), LoremIpsum(), Language("en", 0.99), words("darn"), Sentences(1)):
        item.decide(text(content))


@pytest.mark.parametrize("make", [lambda: "a" * 10**6, lambda: "a@" * 10**6, lambda: "http://" * 10**5])
def test_an_endless_text_is_decided_by_its_beginning(make: Callable[[], str]) -> None:
    assert Language("en", 0.99).decide(text(make())) == Reason.LANGUAGE


def test_their_thresholds_are_fixed_once_the_pages_are_made() -> None:
    found = [item for item in known_filters().values() if issubclass(item, TextFilter | FileTextFilter)]
    assert len(found) == 5
    assert all(item.stricter == {} for item in found)
