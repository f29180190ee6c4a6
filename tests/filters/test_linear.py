"""Crafted lists and URLs: what reading and applying them needs grows with their length, not with its square."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from filters.ads import Ads
from filters.base import ContentHashes
from filters.consent import Consent
from filters.denied_content import DeniedContent
from filters.deny_list import DenyList, keys_of
from filters.hosts import MAX_NAME
from filters.web_url import web_url
from schemas.image import Image
from schemas.page import ImageLink
from schemas.reasons import Reason
from tests.linear import assert_memory_is_linear


def denying(lines: Callable[[int], str]) -> Callable[[int], object]:
    def read(count: int) -> object:
        with suppress(ValueError):
            return DenyList("list").load(lambda _: lines(count).encode())
        return None

    return read


def denying_content(lines: Callable[[int], str]) -> Callable[[int], object]:
    def read(count: int) -> object:
        with suppress(ValueError):
            loaded = DeniedContent("list").load(lambda _: lines(count).encode())
            return loaded.decide(ContentHashes(1, 1, 1, 1 << 63, None))
        return None

    return read


def blocking(lines: Callable[[int], str], url: str = "https://a.example/ab/ab.jpg") -> Callable[[int], object]:
    def read(count: int) -> object:
        loaded = Ads("list").load(lambda _: f"||ads.example^\n{lines(count)}".encode())
        return loaded.decide(ImageLink(0, url, "", None, None))

    return read


def tagged(repeated: str) -> Callable[[int], object]:
    return lambda count: Consent().decide(Image("", 0, "", robots_tag=repeated * count))


READERS: dict[str, Callable[[int], object]] = {
    "hosts": denying(lambda count: "".join(f"h{number}.example\n" for number in range(count))),
    "labels": denying(lambda count: "a." * count + "example"),
    "stars": denying(lambda count: "*." * count),
    "dashes": denying(lambda count: "a-" * count + "!"),
    "comments": denying(lambda count: " #" * count),
    "spaces": denying(lambda count: "a.example" + " " * count + "x"),
    "folders": denying(lambda count: "https://a.example/" + "../" * count),
    "escapes": denying(lambda count: "https://a.example/" + "%7e" * count),
    "labels of a URL": denying(lambda count: f"https://{'ü.' * count}example/"),
    "brackets": denying(lambda count: "[" * count + "]" * count),
    "hashes": denying_content(lambda count: "".join(f"{number:032x}\n" for number in range(count))),
    "near hashes": denying_content(lambda count: "".join(f"phash:{number:016x}\n" for number in range(count))),
    "colons": denying_content(lambda count: ":" * count),
    "columns": denying_content(lambda count: "md5," * count + "\n" + "0" * 32),
    "rows": denying_content(lambda count: "md5,x\n" + f"{'0' * 32},x\n" * count),
    "quotes": denying_content(lambda count: "md5\n" + '"\n' * count),
    "rules": blocking(lambda count: "".join(f"||h{number}.example^\n" for number in range(count))),
    "wildcards": blocking(lambda count: "a*" * count),
    "options": blocking(lambda count: "x$" + "image," * count),
    "domains": blocking(lambda count: "x$domain=" + "|".join(f"h{number}.example" for number in range(count))),
    "regular expressions": blocking(lambda count: f"/{'(a|b)*' * count}/"),
    "cosmetic rules": blocking(lambda count: "##a>" * count),
    "tags": tagged(","),
    "agents": tagged("bot: index,"),
    "colons of a tag": tagged("a:"),
    "lines of a tag": tagged("\n"),
}


@pytest.mark.parametrize("name", READERS)
def test_memory_is_linear(name: str) -> None:
    assert_memory_is_linear(READERS[name])


@pytest.mark.parametrize("label", ["a.", "ü.", ".", "a-", "a", "ü", "xn--a.", "%61."])
@pytest.mark.parametrize("end", ["", "/", "b.example/a.jpg", "..", "!"])
def test_a_host_of_a_megabyte_gets_a_verdict(label: str, end: str) -> None:
    """A parser or look-up that takes quadratic time would need minutes to hours for it."""
    url = f"https://{label * 500_000}{end}"
    link = ImageLink(0, url, "", None, None)
    assert len(set(keys_of(url))) <= MAX_NAME + 5
    assert DenyList("list").load(lambda _: b"denied.example\n").decide(link, url) is None
    assert Ads("list").load(lambda _: b"||ads.example^\n").decide(link, url) is None


@pytest.mark.parametrize("repeated", ["a/", "../", "/", "?", "%2", "\\", "\t", "#", ".", "é", "a:", "//a."])
@pytest.mark.parametrize("start", ["", "http://a.example/", "http://", "//"])
def test_a_url_of_a_megabyte_has_one_form(start: str, repeated: str) -> None:
    url = web_url(start + repeated * 500_000, "https://b.example/c/d.html")
    assert url is None or web_url(url) == url


def test_the_longest_name_is_denied_by_every_domain_above_it() -> None:
    longest = "a." * 123 + "example"
    assert len(longest) == MAX_NAME
    for entry in (longest, "example", "a.a.a.example"):
        loaded = DenyList("list").load(lambda _, entry=entry: entry.encode())
        for above in ("", "b.", "b" * 300 + "."):
            assert loaded.denies(f"https://{above}{longest}/a.jpg")
    with pytest.raises(ValueError, match="list:1"):
        DenyList("list").load(lambda _: f"a.{longest}".encode())
    loaded = Ads("list").load(lambda _: b"||example^\n")
    assert loaded.decide(ImageLink(0, f"https://{longest}/a.jpg", "", None, None)) == Reason.AD
