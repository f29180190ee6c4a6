"""C4's rules for lines: each with a line that breaks it and one that barely does not."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.pages.c4_lines import broken_rule, c4_lines, without_citations

GOOD = "The museum opens at nine in the morning."


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (GOOD, None),
        ("Does the museum open at nine?", None),
        ("The museum opens at nine!", None),
        ('He said: "We open at nine."', None),
        ("Five words are just enough.", None),
        ("Only four words here.", "too_few_words"),
        ("A heading of more than five words", "no_end_mark"),
        ("And so on and so forth...", "no_end_mark"),
        ("And so on and so forth…", "no_end_mark"),
        ("The museum opens at nine;", "no_end_mark"),
        ("Please enable JavaScript to see this page.", "javascript"),
        ("Please read our Privacy Policy before you go on.", "policy"),
        ("By going on you accept the terms of use.", "policy"),
        ("This site uses cookies to make things better.", "policy"),
        ("We use cookies to make things better.", "policy"),
        ("You agree to the use of cookies here.", "policy"),
        ("See the cookie policy for all of it.", "policy"),
        ("The cook uses cooking oil and a privacy screen.", None),
        (f"A word of {'x' * 1000} characters is fine.", None),
        (f"A word of {'x' * 1001} characters is not.", "long_word"),
    ],
)
def test_rules(line: str, rule: str | None) -> None:
    assert broken_rule(line) == rule


@pytest.mark.parametrize(
    ("line", "cleaned"),
    [
        ("It opened in 1901.[1][23]", "It opened in 1901."),
        ("It opened[citation needed] in 1901.[]", "It opened in 1901."),
        ("History[edit]", "History"),
        ("An [aside] stays, and so does [1a].", "An [aside] stays, and so does [1a]."),
    ],
)
def test_citation_marks_are_taken_out(line: str, cleaned: str) -> None:
    assert without_citations(line) == cleaned


def test_what_is_left_is_judged_without_its_citation_marks() -> None:
    assert c4_lines("The museum opened its doors in 1901.[1]").text == "The museum opened its doors in 1901."


def test_every_line_is_counted_once() -> None:
    text = (
        f"Home\n\n  {GOOD}  \nToo short.\nA heading of more than five words\r\n{GOOD}\nNo javascript in here, please."
    )
    lines = c4_lines(text)
    assert lines.text == f"{GOOD}\n{GOOD}"
    assert lines.counts.to_json() == {
        "in": 6,
        "kept": 2,
        "dropped": {"javascript": 1, "no_end_mark": 2, "too_few_words": 1},
    }


@given(st.text('ab .!?\n"[1]{}\u2028\x85…é', max_size=200) | st.text(max_size=200))
def test_cleaning_twice_is_cleaning_once_and_counts_add_up(text: str) -> None:
    once = c4_lines(text)
    once.counts.check("lines")
    twice = c4_lines(once.text)
    assert twice.text == once.text
    assert twice.counts.dropped.total() == 0
    assert twice.counts.kept == once.counts.kept


def one_by_one(line: str) -> str:
    """Remove marks in the obvious way, which takes quadratic time."""
    before = None
    while before != line:
        before, line = line, re.sub(r"\[\d*\]|\[edit\]|\[citation needed\]", "", line).strip()
    return line


@given(
    st.lists(st.sampled_from(["[", "]", "1", "23", "edit", "citation needed", "a", " ", "[]", "\u0663"])).map("".join)
)
def test_marks_are_removed_as_one_by_one(line: str) -> None:
    assert without_citations(line) == one_by_one(line)


MANY = 200_000


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("[" * MANY + "]" * MANY, ""),
        ("[1" * MANY + "]" * MANY, ""),
        ("[edit]" * MANY, ""),
        ("[" * MANY, "[" * MANY),
        ("]" * MANY, "]" * MANY),
        ("][" * MANY, "]["),
        ("[x" * MANY + "]" * MANY, "[x" * MANY + "]" * MANY),
        ("[" * MANY + "x" + "]" * MANY, "[" * MANY + "x" + "]" * MANY),
    ],
)
def test_a_line_of_marks_does_not_hold_up_a_worker(line: str, rest: str) -> None:
    assert without_citations(line) == rest
