"""Main content: which images trafilatura considers part of it, and that no page can block a worker."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.main_images import MAX_CHARACTERS, main_images
from mmc4_pipeline.pages.page import make_page
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.pages.tree import MAX_TAGS
from mmc4_pipeline.recipe import LinkSettings, load_recipe
from schemas.arrow import from_table, to_table
from schemas.page import Page
from schemas.reasons import Reason
from tests.mmc4_pipeline.pages.test_page import LOCATION

SENTENCES = [
    f"At its {number}th meeting the committee decided, after a long debate, that the old bridge will be rebuilt, too."
    for number in range(4, 10)
]
PARAGRAPHS = "".join(f"<p>{sentence}</p>" for sentence in SENTENCES)
FURNITURE = "<nav><a href=/><img src=/furniture.jpg></a></nav>"
FOOTER = "<footer><p>About us</p><img src=/inside.jpg></footer>"


def article(image: str) -> str:
    """Return a page whose article has this image, with one before and one after the article."""
    return f"<html><body>{FURNITURE}<article><h1>A bridge</h1>{image}{PARAGRAPHS}</article>{FOOTER}</body></html>"


@pytest.mark.parametrize(
    ("image", "images"),
    [
        ("<p><img src=/inside.jpg></p>", {1}),
        ("<p><img src=/no/extension?id=7></p>", {1}),
        ("<figure><img src=/inside.jpg alt='A [bridge](x)'><figcaption>A bridge</figcaption></figure>", {1}),
        ("<figure><picture><source srcset=/l.jpg><img src=/inside.jpg></picture></figure>", {1}),
        ("<p><img src='data:image/gif;base64,R0lG' data-src=/inside.jpg></p>", {1}),
        ("<p><img data-unknown=/x><noscript><img src=/inside.jpg></noscript></p>", {1, 2}),
        ("<p><img src=/one.jpg></p><p><img src=/one.jpg></p>", {1, 2}),
    ],
)
def test_images_of_an_article(image: str, images: set[int]) -> None:
    assert main_images(article(image)) == images


def test_a_page_without_content_has_no_main_content() -> None:
    assert main_images("<html><body></body></html>") == set()


HOSTILE = {
    "deep": "<div>" * 9000 + PARAGRAPHS,
    "deep tables": "<table><tr><td>" * 3000 + PARAGRAPHS,
    "deep lists": "<ul><li>" * 4000 + PARAGRAPHS,
    "a mebibyte of an attribute": f"<p class='{'a ' * 2**19}'>{PARAGRAPHS}",
    "ten thousand attributes": "<p " + " ".join(f"a{number}=1" for number in range(4000)) + f">{PARAGRAPHS}",
    "one row": "<table><tr>" + "<td>x" * 4000,
    "control characters": "\x00\x01\x0b\ufffe\ud800" * 500 + PARAGRAPHS,
    "nothing closed": "<p><b><i><a href='<img src='>" * 500 + PARAGRAPHS,
    "script": "<script type='application/ld+json'>" + "[" * 2**19 + f"</script>{PARAGRAPHS}",
    "broken markup": "<" * 5000 + "<!" * 2000 + "<?" * 2000 + PARAGRAPHS,
    "not HTML": "%PDF-1.4 \x00\x00 stream",
    "nothing": "",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_page_is_survived_with_its_links(name: str) -> None:
    reader = PageReader(LinkSettings(main_content=True))
    body = (HOSTILE[name] + "<img src=/a.jpg>").encode("utf-8", "surrogatepass")
    content = reader.read(LOCATION, "text/html; charset=utf-8", body)
    assert isinstance(content, PageContent)
    assert all(link.in_main_content in (True, False, None) for link in content.links)


@pytest.mark.parametrize("page", ["<p>" * (MAX_TAGS + 1), "<p>" + "x" * MAX_CHARACTERS])
def test_what_is_too_much_is_not_measured(page: str) -> None:
    assert main_images(page) is None
    content = PageReader(LinkSettings(main_content=True)).read(
        LOCATION, "text/html", f"<img src=/a.jpg>{page}".encode()
    )
    assert isinstance(content, PageContent)
    assert [link.in_main_content for link in content.links] == [None]


@pytest.mark.parametrize("page", ["<div>" * 100_000, "<font size=1>" * 100_000, "<a b='" + "c " * 2**20 + "'>"])
def test_what_would_take_minutes_is_refused_before_it_is_parsed(page: str) -> None:
    assert main_images(page) is None


@given(st.text("<pimgdv src=\"'/>ab:.&;[]%\x00\né \ud800", max_size=80))
def test_any_text_has_a_main_content(text: str) -> None:
    assert main_images(text) is not None


def test_what_was_measured_is_written_and_filtered() -> None:
    recipe = load_recipe("mmc4", ("links.main_content=true", "filters.main_content={}"))
    body = article("<p><img src=/inside.jpg></p>").encode()
    content = PageReader(recipe.links).read(LOCATION, "text/html; charset=utf-8", body)
    assert isinstance(content, PageContent)
    page = make_page(content, "A sentence.", {key: recipe.filters[key] for key in ("url", "main_content")})
    assert isinstance(page, Page)
    assert [(link.in_main_content, link.reason) for link in page.links] == [
        (False, Reason.NOT_MAIN_CONTENT),
        (True, None),
        (False, Reason.NOT_MAIN_CONTENT),
    ]
    table = to_table([page], Page)
    assert isinstance(table, pa.Table)
    assert list(from_table(table, Page)) == [page]
