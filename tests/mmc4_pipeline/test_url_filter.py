"""The filter of a shard's URLs: it never misses one that a deny-list names, however the list names it."""

import hashlib
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st

from filters.deny_list import KEYS_VERSION, LoadedDenyList, keys_of
from mmc4_pipeline.url_filter import may_have, url_filter, urls_of
from schemas.page import ImageLink
from tests.pages import new_page

LABELS = st.sampled_from(["a", "b", "www", "Bild", "über", "xn--ber-goa", "co", "uk", "example"])
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
URLS = st.one_of(
    st.builds(
        "{}://{}{}{}{}{}".format,
        st.sampled_from(["http", "https", "HTTP", "ftp"]),
        HOSTS,
        st.sampled_from(["", ".", ":80", ":443", ":8080", ":x"]),
        st.sampled_from(["", "/", "/a b", "/ä", "/a/../b"]),
        st.sampled_from(["", "?", "?q=1"]),
        st.sampled_from(["", "#", "#part"]),
    ),
    st.text(max_size=20),
    st.sampled_from(["http://[::1]/", "http://[bad", "sha256:" + 64 * "0", "//host/path", "mailto:a@b.example"]),
)


def sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def entries_for(url: str) -> list[str]:
    """Return lists that name a URL in different ways; not all of them are valid entries."""
    try:
        host = urlsplit(url).hostname or "none.example"
    except ValueError:
        host = "none.example"
    swapped = url.replace("https://", "http://") if url.startswith("https") else url.replace("http://", "https://")
    domains = [host.split(".", at)[-1] for at in range(host.count(".") + 1)]
    return [*domains, url, swapped, f"{url}#other", sha256(url), sha256(url.partition("#")[0])]


@given(st.lists(URLS, min_size=1, max_size=5), st.data())
def test_a_url_that_is_denied_is_never_missed(urls: list[str], data: st.DataObject) -> None:
    entry = data.draw(st.sampled_from([entry for url in urls for entry in entries_for(url)]))
    try:
        deny = LoadedDenyList.parse("list.txt", entry.encode("utf-8", "replace"))
    except ValueError:
        return
    if any(deny.denies(url) for url in urls):
        assert may_have(url_filter(urls), deny.entries())


def test_few_others_seem_to_be_in_it() -> None:
    filters = [url_filter(f"https://site{number}.example/{at}.jpg" for at in range(30)) for number in range(200)]
    deny = LoadedDenyList.parse("list.txt", b"https://site7.example/3.jpg\n")
    found = [number for number, stored in enumerate(filters) if may_have(stored, deny.entries())]
    assert 7 in found
    assert len(found) < 5


def test_it_has_pages_and_links_and_does_not_depend_on_their_order() -> None:
    page = new_page(url="https://a.example/p", links=[ImageLink(0, "https://b.example/i.jpg", "", None, None)])
    assert sorted(urls_of([page])) == ["https://a.example/p", "https://b.example/i.jpg"]
    assert url_filter(["x", "y"]) == url_filter(["y", "x", "y"])


def test_a_filter_of_other_keys_is_not_trusted() -> None:
    deny = LoadedDenyList.parse("list.txt", b"a.example\n")
    stored = url_filter(["https://b.example/"])
    assert not may_have(stored, deny.entries())
    assert may_have(bytes([stored[0] + 1]) + stored[1:], deny.entries())


def test_keys_that_change_have_another_version() -> None:
    urls = ["https://www.A.example:443/a/../b%7e?q=1#x", "http://bücher.example/ä b", "no URL", "//host/"]
    keys = sorted(key for url in urls for key in keys_of(url))
    assert (KEYS_VERSION, hashlib.sha256(repr(keys).encode()).hexdigest()[:8]) == (1, "5c08f1d6")


def test_a_damaged_filter_hides_nothing() -> None:
    deny = LoadedDenyList.parse("list.txt", b"a.example\n")
    for damaged in (b"", b"no filter", url_filter(["https://b.example/"])[:-9]):
        assert may_have(damaged, deny.entries())
