"""The deny-list: each form of an entry, spellings of hosts, and invalid lines."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.deny_list import DenyList, LoadedDenyList
from schemas.page import ImageLink
from schemas.reasons import Reason

HASHED = "https://hashed.example/photo.jpg?size=1#top"
LIST = f"""\ufeff# who asked not to be in it
Example.COM
*.below.example   # with all names below
bücher.example
xn--mnchen-3ya.example.
192.0.2.7
[2001:db8::1]

https://photos.example/a/b.jpg?c=1#d
http://Photos.example:80/Old.jpg
https://photos.example:8443/a.jpg
https://page.example/about
sha256:{hashlib.sha256(HASHED.encode()).hexdigest()}
sha256:{hashlib.sha256(b"https://hashed.example/other.jpg").hexdigest().upper()}
"""


def deny(content: str) -> LoadedDenyList:
    return DenyList("deny.txt").load({"deny.txt": content.encode()}.__getitem__)


LISTED = deny(LIST)


@pytest.mark.parametrize(
    ("url", "denied"),
    [
        # A name and every name below it.
        ("https://example.com/a.jpg", True),
        ("http://a.b.example.com:8080/a.jpg", True),
        ("https://EXAMPLE.com./a.jpg", True),
        ("https://u:p@example.com/a.jpg", True),
        ("https://ex%61mple.com/a.jpg", True),
        ("https://notexample.com/a.jpg", False),
        ("https://example.com.other.example/a.jpg", False),
        ("https://com/a.jpg", False),
        ("https://other.example/example.com", False),
        ("https://below.example/a.jpg", True),
        ("https://x.below.example/a.jpg", True),
        # Names beyond ASCII, in either spelling.
        ("https://bücher.example/a.jpg", True),
        ("https://xn--bcher-kva.example/a.jpg", True),
        ("https://img.BÜCHER。example/a.jpg", True),
        ("https://münchen.example/a.jpg", True),
        ("https://buecher.example/a.jpg", False),
        # Addresses.
        ("http://192.0.2.7/a.jpg", True),
        ("http://192.0.2.8/a.jpg", False),
        ("http://[2001:db8::1]:8080/a.jpg", True),
        # Only this URL, over http and https.
        ("https://photos.example/a/b.jpg?c=1", True),
        ("http://photos.example:80/a/b.jpg?c=1#other", True),
        ("https://photos.example/a/b.jpg", False),
        ("https://photos.example/a/b.jpg?c=1&d=2", False),
        ("https://photos.example/A/b.jpg?c=1", False),
        ("https://photos.example/Old.jpg", True),
        ("https://photos.example:8443/a.jpg", True),
        ("https://photos.example/a.jpg", False),
        # The hash of a URL.
        (HASHED, True),
        ("https://hashed.example/photo.jpg?size=1", False),
        ("https://hashed.example/other.jpg", True),
        ("https://hashed.example/other.jpg#top", True),
        # Not URLs.
        ("http://[broken/a.jpg", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_what_is_denied(url: str, *, denied: bool) -> None:
    assert LISTED.denies(url) is denied
    on_a_page = LISTED.decide(ImageLink(0, url, "", None, None), "https://elsewhere.example/")
    assert on_a_page is (Reason.DENIED if denied else None)


def test_all_images_of_a_denied_page_are_denied() -> None:
    image = ImageLink(0, "https://cdn.example/a.jpg", "", None, None)
    assert LISTED.decide(image, "https://www.example.com/a.html") == Reason.DENIED
    assert LISTED.decide(image, "https://page.example/about") == Reason.DENIED
    assert LISTED.decide(image, "https://page.example/") is None


@pytest.mark.parametrize(
    "entry", ["a b.example", "exam!ple.com", "example.com/a.jpg", "ftp://a.example/", "https://", "sha256:abc", "*."]
)
def test_an_invalid_line_is_refused_by_its_number(entry: str) -> None:
    with pytest.raises(ValueError, match=r"^deny\.txt:3: .*example\.com.*sha256:"):
        deny(f"# two lines\nexample.com\n{entry}\nexample.org")


def test_an_empty_list_denies_nothing() -> None:
    assert not deny("# nobody yet\n").denies("https://example.com/a.jpg")


NAMES = st.from_regex(r"[a-z]{1,9}(\.[a-z]{1,9}){0,3}", fullmatch=True)


@given(st.sets(NAMES), st.lists(NAMES))
def test_names_are_denied_by_those_that_they_end_in(listed: set[str], asked: list[str]) -> None:
    item = deny("\n".join(listed))
    for name in [*asked, *listed, *(f"x.{name}" for name in listed)]:
        assert item.denies(f"https://{name}/a.jpg") is any(f".{name}".endswith(f".{known}") for known in listed)


@given(st.text() | st.builds("https://{}".format, st.text()))
def test_any_url_gets_a_verdict(url: str) -> None:
    assert LISTED.denies(url) in (True, False)


SAME_URLS = [
    ("https://e.com/a%20b.jpg", "https://e.com/a b.jpg"),
    ("https://e.com/b%C3%BCcher.jpg", "https://e.com/bücher.jpg"),
    ("https://e.com/bücher.jpg", "https://e.com/b%C3%BCcher.jpg"),
    ("https://e.com/b%c3%bccher.jpg", "https://e.com/b%C3%BCcher.jpg"),
    ("https://e.com/~joe/a.jpg", "https://e.com/%7Ejoe/a.jpg"),
    ("https://e.com/a.jpg?q=%7e", "https://e.com/a.jpg?q=~"),
    ("https://e.com/private/a.jpg", "https://e.com/x/../private/a.jpg"),
    ("https://e.com/x/%2E%2E/a.jpg", "https://e.com/a.jpg"),
    ("https://e.com/x/a.jpg", "https:\\\\e.com\\x\\a.jpg"),
    ("https://e.com", "http://E.com:80/"),
    ("http://127.0.0.1/a.jpg", "http://2130706433/a.jpg"),
    ("e.com", "http://e%2Ecom/a.jpg"),
]


@pytest.mark.parametrize(("entry", "url"), SAME_URLS)
def test_an_entry_denies_every_form_of_its_url(entry: str, url: str) -> None:
    assert DenyList("x").load(lambda _: entry.encode()).denies(url)


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("https://e.com/a%2Fb.jpg", "https://e.com/a/b.jpg"),
        ("https://e.com/a.jpg", "https://e.com/A.jpg"),
        ("https://e.com/a.jpg", "https://e.com//a.jpg"),
        ("https://e.com/a+b.jpg", "https://e.com/a b.jpg"),
        ("https://e.com/a%3Fb", "https://e.com/a?b"),
    ],
)
def test_an_entry_denies_no_other_url(entry: str, url: str) -> None:
    assert not DenyList("x").load(lambda _: entry.encode()).denies(url)
