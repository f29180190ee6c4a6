"""Image links of HTML pages, resolved as a browser resolves them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.pages.html_links import links_of_html
from mmc4_pipeline.pages.links import resolve
from mmc4_pipeline.pages.wat_links import links_of_wat
from schemas.page import ImageLink

PAGE = "https://a.example/news/today.html"


def urls(html: str) -> list[str]:
    return [link.url for link in links_of_html(html, PAGE)]


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("photo.jpg", "https://a.example/news/photo.jpg"),
        ("/photo.jpg?x=1", "https://a.example/photo.jpg?x=1"),
        ("../photo.jpg", "https://a.example/photo.jpg"),
        ("//cdn.example/photo.jpg", "https://cdn.example/photo.jpg"),
        ("http://b.example/photo.jpg", "http://b.example/photo.jpg"),
        ("  photo.jpg\n", "https://a.example/news/photo.jpg"),
        ("pho\nto\t.jpg", "https://a.example/news/photo.jpg"),
        ("a.jpg?x=1&amp;copy=2", "https://a.example/news/a.jpg?x=1&copy=2"),
        ("a.jpg#part", "https://a.example/news/a.jpg#part"),
        ("", None),
        ("   ", None),
        ("data:image/gif;base64,R0lGODlhAQABAAAAACw=", None),
        ("blob:https://a.example/1", None),
        ("javascript:void(0)", None),
        ("ftp://a.example/a.jpg", None),
        ("http://[broken/photo.jpg", None),
        ("http:photo.jpg", None),
    ],
)
def test_sources(source: str, url: str | None) -> None:
    assert urls(f'<img src="{source}">') == ([] if url is None else [url])


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://b.example/c/", "https://b.example/c/a.jpg"),
        ("/d/", "https://a.example/d/a.jpg"),
        ("d/", "https://a.example/news/d/a.jpg"),
        ("//b.example", "https://b.example/a.jpg"),
        ("", "https://a.example/news/a.jpg"),
        ("data:text/html,", "https://a.example/news/a.jpg"),
        ("http://[broken/", "https://a.example/news/a.jpg"),
    ],
)
def test_base(base: str, url: str) -> None:
    assert urls(f'<head><base href="{base}"></head><img src="a.jpg">') == [url]
    wat = {"Head": {"Base": base}, "Links": [{"path": "IMG@/src", "url": "a.jpg"}]}
    assert [link.url for link in links_of_wat(wat, PAGE)] == [url]


def test_the_first_base_with_an_address_counts() -> None:
    bases = '<base target="_top"><base href="/one/"><base href="/two/">'
    assert urls(f"<head>{bases}</head><img src=a.jpg>") == ["https://a.example/one/a.jpg"]


def test_positions_count_the_links_in_page_order() -> None:
    html = """<table><tr><td><img src=1.jpg></table><img src="data:,x"><img alt="no source">
        <p><IMG SRC='2.jpg' ALT=" two\n words " WIDTH="300px" HEIGHT=200><img src=1.jpg width=100% height=auto>"""
    assert links_of_html(html, PAGE) == [
        ImageLink(0, "https://a.example/news/1.jpg", "", None, None),
        ImageLink(1, "https://a.example/news/2.jpg", "two words", 300, 200),
        ImageLink(2, "https://a.example/news/1.jpg", "", None, None),
    ]


def test_what_is_not_on_the_page_is_no_link() -> None:
    html = """<!-- <img src=comment.jpg> --><script>"<img src=script.jpg>"</script><a href=a.jpg>a</a>
        <textarea><img src=typed.jpg></textarea><img src=real.jpg"""
    assert urls(html + ">") == ["https://a.example/news/real.jpg"]


@given(st.text("<img src=\"'/>ab:.&;[]%\x00\né", max_size=80))
def test_any_text_is_a_page_and_its_links_are_http(text: str) -> None:
    links = links_of_html(text, PAGE)
    assert [link.position for link in links] == list(range(len(links)))
    assert all(link.url.startswith(("https://", "http://")) for link in links)


@given(st.text("htps:/[]#?@.%\\\x00 ab1", max_size=30))
def test_any_link_resolves_to_http_or_nothing(link: str) -> None:
    url = resolve(PAGE, link)
    assert url is None or url.startswith(("https://", "http://"))
