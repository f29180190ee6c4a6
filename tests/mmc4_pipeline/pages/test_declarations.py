"""What a page's meta tags, its HTTP header and its WAT record declare about the use of its content."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from filters.page_robots import PageRobots
from filters.url import Url
from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.declarations import declarations_of_header, declarations_of_html, declarations_of_wat
from mmc4_pipeline.pages.page import make_page
from schemas.declarations import MAX_CHARACTERS, MAX_DECLARATIONS
from schemas.page import ImageLink, Page
from tests.mmc4_pipeline.pages.test_page import LOCATION


def of_html(html: str, encoding: str = "utf-8") -> list[str]:
    return declarations_of_html(html.encode(encoding), html)


@pytest.mark.parametrize(
    ("html", "declarations"),
    [
        ('<meta name="robots" content="noai, noimageai">', ["meta robots: noai, noimageai"]),
        ("<META CONTENT='NoAI' NAME=' Robots '>", ["meta robots: NoAI"]),
        ("<meta name=googlebot content=noimageai />", ["meta googlebot: noimageai"]),
        ("<body><p>text<meta name=robots content='index,\n noml'>", ["meta robots: index, noml"]),
        ("<meta name=img2dataset content=noai>", ["meta img2dataset: noai"]),
        ("<meta name='tdm-reservation' content='1'>", ["meta tdm-reservation: 1"]),
        ("<meta name='TDM-Reservation' content=' 0 '>", ["meta tdm-reservation: 0"]),
        ("<meta name=robots content=noai>" * 3, ["meta robots: noai"]),
        ("<meta name=robots content='index, follow'>", []),
        ("<meta name=robots content=noindex>", []),
        ("<meta name=keywords content='noai, art'>", []),
        ("<meta property=robots content=noai>", []),
        ("<!-- <meta name=robots content=noai> -->", []),
        ("<script>'<meta name=robots content=noai>'</script>", []),
        ("<p>noai", []),
        ("<meta name=robots content>noai", []),
    ],
)
def test_meta_tags(html: str, declarations: list[str]) -> None:
    assert of_html(f"<html><head><title>t</title>{html}<img src=a.jpg>") == declarations
    assert of_html(html, "utf-16") == declarations


def test_a_page_of_too_many_tags_keeps_its_meta_tags() -> None:
    assert of_html("<meta name=robots content=noai>" + "<b>x</b>" * 30_000) == ["meta robots: noai"]


@pytest.mark.parametrize(
    ("fields", "declarations"),
    [
        ([("X-Robots-Tag", "noai")], ["header x-robots-tag: noai"]),
        ([("x-robots-tag", "gptbot: NoML, nofollow")], ["header x-robots-tag: gptbot: NoML, nofollow"]),
        ([("TDM-Reservation", " 1 ")], ["header tdm-reservation: 1"]),
        ([("Content-Usage", "train-ai=n")], ["header content-usage: train-ai=n"]),
        (
            [("Content-Usage", "train-ai=n"), ("Server", "noai"), ("content-usage", "search=y")],
            ["header content-usage: train-ai=n, search=y"],
        ),
        ([("X-Robots-Tag", "noindex"), ("Server", "noai"), ("Content-Type", "text/html")], []),
    ],
)
def test_headers_and_wat_records_say_the_same(fields: list[tuple[str, str]], declarations: list[str]) -> None:
    assert declarations_of_header(fields) == declarations
    headers: dict[str, Any] = {}
    for name, value in fields:
        headers.setdefault(name, []).append(value)
    assert declarations_of_wat({"Headers": headers}) == declarations


def test_declarations_are_bounded() -> None:
    many = declarations_of_header([("tdm-reservation", str(number)) for number in range(1000)])
    assert many == [f"header tdm-reservation: {number}" for number in range(MAX_DECLARATIONS)]
    assert declarations_of_header([("x-robots-tag", "noai, " + "a" * MAX_CHARACTERS)]) == []


anything = st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=2))
metas = st.lists(
    st.dictionaries(st.sampled_from(["name", "content", "x"]), anything, max_size=3) | anything, max_size=3
)


@given(anything | st.dictionaries(st.text(max_size=3), anything, max_size=2), metas | anything)
def test_a_wat_record_may_have_any_form(headers: object, found: object) -> None:
    html = {"Head": {"Metas": found}}
    assert isinstance(declarations_of_wat({"Headers": headers, "HTML-Metadata": html}), list)
    assert declarations_of_wat(found) == []


def test_all_links_of_a_page_that_opts_out_are_dropped_in_the_recipe_s_order() -> None:
    links = [
        ImageLink(number, f"https://a.example/{number}.{kind}", "", None, None) for number, kind in enumerate("ab")
    ]
    found = PageContent(LOCATION, links, declarations=["meta robots: noai"])
    page = make_page(found, "One.", {"types": Url(("a",)), "page_robots": PageRobots()})
    assert isinstance(page, Page)
    assert page.declarations == ["meta robots: noai"]
    assert [(link.filter, link.reason) for link in page.links] == [
        ("page_robots", "opted_out"),
        ("types", "url_extension"),
    ]
    quiet = make_page(replace(found, declarations=[]), "One.", {"page_robots": PageRobots()})
    assert isinstance(quiet, Page)
    assert [link.filter for link in quiet.links] == [None, None]
