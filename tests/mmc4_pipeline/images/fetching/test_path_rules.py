"""Patterns of robots.txt: which paths they match, which rule counts, and how much work a URL can make."""

import asyncio
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.images.fetching import host_files, path_rules
from mmc4_pipeline.images.fetching.path_rules import MAX_PATH, MAX_WORK, PathRules, UndecidableError
from mmc4_pipeline.images.fetching.robots import MAX_BYTES, Robots
from tests.mmc4_pipeline.images.web_server import BODY, fetch_from, responding

HOST = "https://a.example"


def matches(pattern: str, path: str) -> bool:
    return bool(PathRules([(pattern, "x")]).matching(HOST + path))


@pytest.mark.parametrize(
    ("pattern", "path", "match"),
    [
        ("/", "/", True),
        ("/fish", "/fishheads.html?a", True),
        ("/fish", "/Fish", False),
        ("/fish/", "/fish", False),
        ("/*.php", "/folder/index.php?x=1", True),
        ("/*.php$", "/index.php?x=1", False),
        ("/*.php$", "/a.php/b.php", True),
        ("/fish*.php", "/fishheads/catfish.php", True),
        ("/a$", "/a", True),
        ("/a$", "/ab", False),
        ("/$", "/", True),
        ("*.jpg", "/a.jpg", True),
        ("*", "/", True),
        ("/*$", "/abc", True),
        ("/a*b*$", "/aXbY", True),
        ("/a*a$", "/a", False),
        ("/foo/bar?baz=http://b", "/foo/bar?baz=http%3A//b", False),  # RFC 9309, 2.2.2: reserved, not the same
        ("/%7Ejoe", "/~joe", True),
        ("/~joe", "/%7ejoe", True),
        ("/ü", "/%C3%BC", True),
        ("/%c3%bc", "/ü", True),
        ("/a b", "/a%20b", True),
        ("/a%2fb", "/a%2Fb", True),
        ("/a%2fb", "/a/b", False),
        ("/a|b", "/a%7Cb", True),
        ("/foo-%24", "/foo-$", True),
        ("/foo$bar", "/foo$bar/x", True),
        ("/*$bar*.jpg$", "/a$bar/x.jpg", True),
        ("/foo$*", "/foo", False),
        ("/foo$$", "/foo$", True),
        ("/foo-%2A", "/foo-*x", True),
        ("/foo-%2A", "/foo-x", False),
        ("", "/", True),
        ("private", "/private", False),
        ("/x", "/y/../x", True),
    ],
)
def test_patterns(pattern: str, path: str, match: bool) -> None:
    assert matches(pattern, path) is match


paths = st.text("ab/.", max_size=8).map(lambda text: "/a" + text)


@given(st.lists(st.tuples(st.text("ab/*$", max_size=6), st.sampled_from(["allow", "disallow"])), max_size=6), paths)
def test_the_same_as_a_regular_expression(rules: list[tuple[str, str]], path: str) -> None:
    """The reference is the translation that RFC 9309 describes; a $ elsewhere than at the end is a character."""

    def expression(pattern: str) -> str:
        body = re.escape(pattern.removesuffix("$")).replace(r"\*", ".*")
        return body + ("$" if pattern.endswith("$") else "")

    url = f"{HOST}{path}"
    requested = path_rules.parts_of(path_rules.web_url(url) or "")[2]
    expected = {rule for rule in rules if re.match(expression(rule[0]), requested)}
    found = PathRules(rules)
    assert {(rule.pattern, rule.value) for rule in found.matching(url)} == expected
    most = max((len(pattern) for pattern, _ in expected), default=0)
    assert {rule.pattern for rule in found.longest(url)} == {pattern for pattern, _ in expected if len(pattern) == most}


FILES: dict[str, bytes] = {
    "wildcards": b"User-agent: *\n" + b"".join(b"Allow:*x%06dy\n" % number for number in range(33_000)),
    "long parts": b"User-agent: *\n" + b"".join(b"Allow: /*%s%03d\n" % (b"a" * 1200, number) for number in range(400)),
    "many parts": b"User-agent: *\n" + b"".join(b"Allow: /%s%05d\n" % (b"*a" * 40, number) for number in range(5000)),
    "prefixes": b"User-agent: *\n" + b"".join(b"Allow: /%s\n" % (b"a" * number) for number in range(990)),
    "agents": b"User-agent: *\n" * 35_000,
    "groups": b"User-agent: *\nAllow: /a*b\n" * 18_000,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("length", [10, 1000, 8000, 170_000])
def test_the_work_for_a_url_is_bounded(name: str, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(FILES[name]) < MAX_BYTES + 50_000
    robots = Robots.read(FILES[name], ("mine",))
    work = 0
    follows = path_rules.follows

    def counted(path: str, at: int, rest: Any) -> bool:
        nonlocal work
        work += 60 + 20 * len(rest.parts) + (len(path) - at) * max(map(len, rest.parts), default=0) // 16
        return follows(path, at, rest)

    monkeypatch.setattr(path_rules, "follows", counted)
    robots.allows(f"{HOST}/{'a' * length}.jpg")
    assert work <= MAX_WORK


def test_what_cannot_be_decided_is_not_requested() -> None:
    robots = Robots.read(FILES["wildcards"], ("mine",))
    assert not robots.allows(f"{HOST}/a.jpg")
    few = Robots.read(b"User-agent: *\n" + b"Disallow: /*x\n" * 50_000, ("mine",))  # one rule, many times
    assert few.allows(f"{HOST}/a.jpg")
    assert not few.allows(f"{HOST}/ax.jpg")
    assert not few.allows(f"{HOST}/{'a' * MAX_PATH}.jpg")
    assert Robots().allows(f"{HOST}/{'a' * MAX_PATH}.jpg")
    with pytest.raises(UndecidableError):
        PathRules([("/a", "x")]).matching(f"{HOST}/{'b' * MAX_PATH}")


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ("User-agent: Google\nDisallow: /\n", False),
        ("User-agent: google/1.0\nDisallow: /\n", False),
        ("User-agent: GOOGLE bot\nDisallow: /\n", False),
        ("User-agent: Googlebot-Image\nDisallow: /\n", True),
        ("User-agent: Goog\nDisallow: /\n", True),
        ("User-agent: Google-\nDisallow: /\n", True),
        ("User-agent: google*\nDisallow: /\n", False),
        ("User-agent: *\nDisallow: /\nUser-agent: Google\nDisallow:\n", True),
        ("User-agent: Google\nUser-agent: other\nDisallow: /\n", False),
        ("User-agent: Google\nSitemap: /s\nUser-agent: other\nDisallow: /\n", False),
        ("User-agent: Google\nCrawl-delay: 1\nUser-agent: other\nDisallow: /\n", True),
        ("User-agent: Google\nDisallow: /a\n\nUser-agent: Google\nAllow: /a.jpg\n", True),
        ("User-agent: Google\nAllow: /\nUser-agent: img2dataset\nDisallow: /a\n", False),
        ("user agent Google\ndissallow /\n", False),
        ("User-agent: Google # us\nDisallow: / # all\n", False),
        ("User-agent: Google\rDisallow: /\r", False),
        ("Disallow: /\n", True),
        ("User-agent: other, google\nDisallow: /\n", False),
        ('User-agent: "Google"\nDisallow: /\n', False),
        ("User-agent: Google;\nDisallow: /\n", False),
        ("User-agent: other,Googlebot\nDisallow: /\n", True),
        ("User-agent: *\0\nDisallow: /\n", False),
        ("\0User-agent: *\n\u200bDisallow: /\n", False),
        ("User-agent: *\nDisallow: /a.jpg\nAllow: /a.jpg\n", True),
        ("User-agent:\nDisallow: /\n", True),
    ],
)
def test_groups_match_by_product_tokens(rules: str, allowed: bool) -> None:
    assert Robots.read(rules.encode(), ("google", "img2dataset")).allows(f"{HOST}/a.jpg") is allowed


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1"])
def test_the_rules_of_a_file_in_any_coding_count(coding: str) -> None:
    body = "User-agent: *\r\nDisallow: /private\r\n# Grüße\r\n".encode(coding)
    robots = Robots.read(body, ("mine",))
    assert (robots.allows(f"{HOST}/a.jpg"), robots.allows(f"{HOST}/private/a.jpg")) == (True, False)


@given(st.binary(max_size=200) | st.text("User-agent: *\nAllow/Disallow$%2", max_size=200).map(str.encode))
def test_any_bytes_can_be_read(body: bytes) -> None:
    assert Robots.read(body, ("mine",)).allows(f"{HOST}/a.jpg") in (True, False)


def test_files_are_read_outside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[bool] = []
    read: Callable[..., Robots] = Robots.read

    class Watched(Robots):
        @classmethod
        def read(cls, body: bytes, names: Any) -> Any:
            try:
                asyncio.get_running_loop()
                threads.append(False)
            except RuntimeError:
                threads.append(threading.current_thread() is not threading.main_thread())
            return read(body, names)

    monkeypatch.setattr(host_files, "Robots", Watched)
    (result,), _ = fetch_from(
        responding(web.Response(body=BODY)), "/a.jpg", robots=responding(web.Response(body=FILES["prefixes"]))
    )
    assert (result.reason, threads) == (None, [True])
