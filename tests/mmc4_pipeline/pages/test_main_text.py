"""The main text of pages, including pages made to block a reader."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmc4_pipeline.pages.c4_lines import c4_lines
from mmc4_pipeline.pages.main_text import MAX_CHARACTERS, UnreadablePageError, main_text

PARAGRAPH = "The old mill stands by the river, and its wheel still turns on the first Sunday of the month."
PAGE = f"""<html><head><title>The mill</title><script>var text = "none";</script></head><body>
<nav><a href="/">Home</a> <a href="/visit">Plan your visit to the region today.</a></nav>
<main><h1>The mill</h1><p>{PARAGRAPH}</p><p>Caf&eacute; and <b>shop</b> open at nine.<br>Dogs are welcome in both.</p>
</main><footer>All rights reserved by the mill society.</footer></body></html>"""


def text(html: str) -> str:
    return main_text(html, "https://a.example/")


def test_paragraphs_are_lines_and_furniture_is_none() -> None:
    lines = text(PAGE).splitlines()
    assert PARAGRAPH in lines
    assert "Café and shop open at nine." in lines
    assert "Dogs are welcome in both." in lines
    assert not {"Home", "var text"} & set(text(PAGE).split())
    assert "Plan your visit" not in text(PAGE)
    assert "All rights reserved" not in text(PAGE)


def test_characters_are_composed() -> None:
    assert "Caf\u00e9 and shop" in text(PAGE.replace("Caf&eacute;", "Cafe\u0301"))


@pytest.mark.parametrize(
    "html", ["", " ", "no markup", "<", "<html></html>", "<img src=a.jpg>", "\x00", "<![CDATA[", "{}"]
)
def test_where_there_is_nothing_there_is_no_text(html: str) -> None:
    assert text(html).strip() in ("", "no markup")


@settings(max_examples=50)
@given(st.text("<>/=\"'&;! pdivtableab\n\x00é\ud800", max_size=200))
def test_any_text_is_a_page(html: str) -> None:
    assert isinstance(text(html), str)
    assert isinstance(text(PAGE.replace("<p>", f"<p>{html}", 1)), str)


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 100_000 + PARAGRAPH,
        "<div>" * 100_000 + PARAGRAPH + "</div>" * 100_000,
        "<p>" + "<b>" * 100_000 + PARAGRAPH,
        "<table><tr><td>" * 50_000 + PARAGRAPH,
        "<ul><li>" * 50_000 + PARAGRAPH,
        f"<p class='{'a b ' * 500_000}'>{PARAGRAPH}</p>" + PAGE,
        f"<script>{'var x = {};' * 100_000}</script>" + PAGE,
        f"<script type='application/ld+json'>{'[' * 100_000}</script>" + PAGE,
        "<" * 500_000,
        "<!--" * 200_000,
        "&amp;" * 200_000,
        "<p>" + "word " * 400_000,
        f"<p>{PARAGRAPH}<p>a" + "\u0301\u0323" * 200_000,
        "\n\t " * 300_000,
    ],
    ids=lambda html: html[:20],
)
def test_nesting_and_length_stop_nobody(html: str) -> None:
    assert len(text(html)) <= MAX_CHARACTERS


@pytest.mark.parametrize("tag", ["<td>x", "<a href=x>a</a>", "<i></i>", "<li>item", "<p>x</p>", "<q>x</q>"])
def test_a_page_of_too_many_elements_is_refused(tag: str) -> None:
    with pytest.raises(UnreadablePageError, match="more than 20000 elements"):
        text(f"<html><body><table><tr>{tag * 100_000}")


def test_a_tag_of_too_many_attributes_is_refused_before_it_is_parsed() -> None:
    many = " ".join(f"a{number}='x>y'" for number in range(50_000))
    with pytest.raises(UnreadablePageError, match="more than 300 attributes"):
        text(f"<html><body><p {many}>{PARAGRAPH}</p>")
    few = " ".join(f'data-{number}="<p a b c>"' for number in range(100))
    assert PARAGRAPH in text(PAGE.replace("<p>", f"<p {few}>", 1))


@pytest.mark.parametrize("piece", ['<a x="', "<a x='", "<a ", "<a/", "<a =", "<a x = ", "<a x=\"'"])
def test_looking_for_such_tags_takes_no_time_itself(piece: str) -> None:
    html = piece * (MAX_CHARACTERS // len(piece))
    with suppress(UnreadablePageError):
        assert len(text(html)) <= MAX_CHARACTERS


SENTENCES = [f"The fox number {n} jumps over the lazy dog near the river bank every single morning." for n in range(6)]
PARAGRAPHS = "".join(f"<p>{sentence}</p>" for sentence in SENTENCES)
BREAKS = "<br><br>".join(SENTENCES)
LAYOUTS = {
    "no table": f"<div>{PARAGRAPHS}</div>",
    "one cell": f"<table><tr><td>{PARAGRAPHS}</td></tr></table>",
    "menu and text": f"<table><tr><td><a href=/>Home</a></td><td>{PARAGRAPHS}</td></tr></table>",
    "a row each": "<table>" + "".join(f"<tr><td>{sentence}</td></tr>" for sentence in SENTENCES) + "</table>",
    "a column each": "<table><tr>" + "".join(f"<td>{sentence}" for sentence in SENTENCES) + "</table>",
    "nested": f"<table><tr><td><table><tr><td><table><tr><td>{PARAGRAPHS}</table></td></tr></table></table>",
    "line breaks": f"<center><table><tr><td><font size=2>{BREAKS}</font></td></tr></table></center>",
    "head cells": f"<table><thead><tr><th>{SENTENCES[0]}</thead><tr><td>{'<td>'.join(SENTENCES[1:])}</table>",
    "a list in it": f"<table><tr><td><ul><li>{'<li>'.join(SENTENCES)}</ul></table>",
    "a heading in it": f"<table><tr><td><h1>The fox</h1>{PARAGRAPHS}</td></tr></table>",
    "three columns": "<table><tr><td colspan=3><img src=logo.gif></td></tr><tr><td><a href=/a>News</a><br><a href=/b>"
    f"About us</a></td><td>{PARAGRAPHS}</td><td>Ads</td></tr><tr><td colspan=3>Copyright 2001</td></tr></table>",
    "a table in an article": f"<article>{PARAGRAPHS}<table><tr><td>Year<td>Number<tr><td>2001<td>15</table></article>",
    "inline elements": f"<table><tr><td>{SENTENCES[0]} <b>{SENTENCES[1]}</b></td><td>{BREAKS}</td></tr></table>",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_prose_of_a_page_laid_out_with_tables_is_kept(name: str) -> None:
    html = f"<!doctype html><html><head><title>Foxes</title></head><body>{LAYOUTS[name]}</body></html>"
    kept = c4_lines(text(html)).text
    assert [sentence for sentence in SENTENCES if sentence not in kept] == []
    assert "|" not in kept
    assert "2001" not in kept


@pytest.mark.parametrize("repeated", ["<a", "<a/", "<a b=c'", "<a b='<a c=\"", "<a\n", "<a<b ", "<!", "<a b=<a "])
def test_endless_tag_names_do_not_hold_up_a_worker(repeated: str) -> None:
    with suppress(UnreadablePageError):
        text(f"<html><body><p>{PARAGRAPH}</p>" + repeated * (MAX_CHARACTERS // len(repeated)))
