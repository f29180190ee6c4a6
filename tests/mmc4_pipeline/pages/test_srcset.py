"""The srcset grammar: planted candidates are found, and no attribute can block a page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.pages.srcset import MAX_CANDIDATES, Candidate, parse_srcset


@pytest.mark.parametrize(
    ("text", "candidates"),
    [
        ("a.jpg", [("a.jpg", None, None)]),
        ("a.jpg 1x, b.jpg 2x", [("a.jpg", None, 1), ("b.jpg", None, 2)]),
        ("a.jpg 320w,\n\tb.jpg 640w", [("a.jpg", 320, None), ("b.jpg", 640, None)]),
        ("a.jpg, b.jpg 1.5x", [("a.jpg", None, None), ("b.jpg", None, 1.5)]),
        ("a.jpg,b.jpg 2x", [("a.jpg,b.jpg", None, 2)]),  # a comma inside a URL is part of it
        ("w_3,h_2/a.jpg 3w, w_6,h_4/a.jpg 6w", [("w_3,h_2/a.jpg", 3, None), ("w_6,h_4/a.jpg", 6, None)]),
        ("data:image/gif;base64,R0lG 1w, a.jpg 2w", [("data:image/gif;base64,R0lG", 1, None), ("a.jpg", 2, None)]),
        ("a.jpg 640w 480h", [("a.jpg", 640, None)]),
        (",, a.jpg ,, b.jpg ,", [("a.jpg", None, None), ("b.jpg", None, None)]),
        ("a.jpg (1,2) 3x, b.jpg 2x", [("b.jpg", None, 2)]),
        ("a.jpg (1, b.jpg 2x", []),
        ("a.jpg .5x", [("a.jpg", None, 0.5)]),
        ("a.jpg 0w, b.jpg -1x, c.jpg 1x 2w, d.jpg 2h, e.jpg 1w 2w, f.jpg big, g.jpg 1.5w", []),
        ("a.jpg 99999999999999999999w, b.jpg 1e999x, c.jpg ٣w, d.jpg 1x", [("d.jpg", None, 1)]),
        ("", []),
        (" , ,", []),
    ],
)
def test_grammar(text: str, candidates: list[tuple[str, int | None, float | None]]) -> None:
    assert list(parse_srcset(text)) == [Candidate(*candidate) for candidate in candidates]


def planted() -> st.SearchStrategy[list[tuple[Candidate, str]]]:
    """Return candidates, each with the descriptor with which it is written."""
    url = st.from_regex(r"[a-z0-9:/?=&%._()-]([a-z0-9:/?=&%,._()-]{0,12}[a-z0-9/])?", fullmatch=True)
    width = st.tuples(url, st.integers(1, 9999)).map(lambda it: (Candidate(it[0], it[1], None), f" {it[1]}w"))
    tenths = st.tuples(url, st.integers(1, 99))
    density = tenths.map(lambda it: (Candidate(it[0], None, it[1] / 10), f" {it[1] / 10}x"))
    plain = url.map(lambda it: (Candidate(it, None, None), ""))
    return st.lists(st.one_of(width, density, plain), max_size=8)


@given(planted(), st.sampled_from([", ", " ,", "\n,\t"]))
def test_planted_candidates_come_back(items: list[tuple[Candidate, str]], comma: str) -> None:
    text = comma.join(candidate.url + descriptor for candidate, descriptor in items)
    assert list(parse_srcset(text)) == [candidate for candidate, _ in items]


@given(st.text("a.,() \t\n01x9wh-+e٣é:/", max_size=80))
def test_any_text_is_a_srcset(text: str) -> None:
    for candidate in parse_srcset(text):
        assert candidate.url.strip(" \t\n\f\r,") == candidate.url.rstrip(",") != ""
        assert candidate.width is None or candidate.density is None


@pytest.mark.parametrize("piece", [",", " ", "(", ")", "a ", "a,", "a (", "a 1x,", ", ,", "a 1x 1w (,", "\t(,"])
def test_a_mebibyte_of_anything_is_read_at_once(piece: str) -> None:
    assert len(list(parse_srcset(piece * (2**20 // len(piece))))) <= MAX_CANDIDATES
