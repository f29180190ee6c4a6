"""The fast way to see that a URL is in normal form already agrees with WHATWG's parser."""

import ada_url
from hypothesis import example, given
from hypothesis import strategies as st

from filters.web_url import is_plain, web_url
from mmc4_pipeline.pages.links import resolve

# What URLs are made of, so that many of them are plain, or nearly.
PARTS = ["http://", "https://", "a", "b.", "xn--", "-", "_", ".", "/", "//", "..", "%2e", "%2E", "%", "?", "#", ":"]
PARTS += [
    "A",
    "~",
    "é",
    "1",
    "127.0.0.1",
    "a.example",
    "/a.jpg",
    "@",
    "img",
    "../",
    "a:",
    "'",
    "|",
    "[",
    "^",
    " ",
    "\t",
]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=8).map("".join)
STARTS = st.sampled_from(["", "http://a.example", "https://a.example/", "http://", "//", "/"])


def by_library(text: str, base: str | None = None) -> str | None:
    try:
        url = ada_url.join_url(base, text) if base else ada_url.normalize_url(text)
    except ValueError:
        return None
    return url if url.startswith(("http://", "https://")) else None


@given(STARTS, TEXTS)
@example("http://a.example/", "a/.b")
@example("http://a.example/", "?b=/./c")
@example("http://a-.b.c", "/")
def test_every_url_has_the_form_that_the_library_gives_it(start: str, text: str) -> None:
    url = start + text
    assert web_url(url) == by_library(url)
    if is_plain(url):
        assert by_library(url) == url


@given(STARTS, TEXTS, st.sampled_from(["http://b.example/c/d.html", "https://b.example/?q=/x/", "http://b.example/c/"]))
def test_every_link_leads_where_the_library_says(start: str, text: str, base: str) -> None:
    link = start + text
    meant = by_library(link, base)
    if meant is not None and link.strip("\t ") and not meant.endswith("#"):
        assert resolve(base, link) == meant


def test_a_lone_surrogate_is_replaced() -> None:
    assert web_url("https://a.example/a\ud800b") == "https://a.example/a%EF%BF%BDb"
    assert (
        web_url("c\udfff?\ud83d\ude00", "https://a.example/b/") == "https://a.example/b/c%EF%BF%BD?%EF%BF%BD%EF%BF%BD"
    )
    assert web_url("//\ud800/", "https://a.example/") is None
