"""robots.txt over real HTTP: forbidden images are not requested, and the file is requested once."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.interface import FetchResult
from mmc4_pipeline.images.fetching.robots import MAX_BYTES, MAX_CRAWL_DELAY, Robots, has_contact, robot_names
from mmc4_pipeline.images.fetching.settings import FetchSettings
from schemas.reasons import Reason
from tests.mmc4_pipeline.images.web_server import BODY, USUAL, Server, fetch_all, fetch_from, responding, serving

GOOD = responding(web.Response(body=BODY))
PRIVATE = "User-agent: *\nDisallow: /private/\n"


def text(content: str, status: int = 200) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    return responding(web.Response(body=content.encode(), status=status))


def test_forbidden_images_are_not_requested_and_the_file_is_requested_once() -> None:
    results, server = fetch_from(GOOD, "/a.jpg", "/private/b.jpg", "/private/c.jpg", "/d.jpg", robots=text(PRIVATE))
    assert [result.reason for result in results] == [None, Reason.ROBOTS, Reason.ROBOTS, None]
    assert results[1].error == f"see {server.address}/robots.txt"
    assert (sorted(server.requested), server.robots) == (["/a.jpg", "/d.jpg"], 1)


def test_it_can_be_ignored() -> None:
    (result,), server = fetch_from(GOOD, "/private/a.jpg", robots=text(PRIVATE), robots_txt=False)
    assert (result.reason, server.robots) == (None, 0)


@pytest.mark.parametrize(
    ("agent", "rules", "allowed"),
    [
        ("mine/2.0 (+https://a.example)", "User-agent: mine\nDisallow: /\n", False),
        ("mine/2.0 (+https://a.example)", "User-agent: MINE\nDisallow: /\n\nUser-agent: *\nAllow: /\n", False),
        ("mine/2.0 (+https://a.example)", "User-agent: mine\nAllow: /\n\nUser-agent: *\nDisallow: /\n", True),
        ("mine/2.0 (+https://a.example)", "User-agent: other\nDisallow: /\n", True),
        ("mine/2.0 (+https://a.example)", "User-agent: example\nDisallow: /\n", True),  # only in the address
        ("mine/2.0 (+https://a.example)", "User-agent: mmc4-pipeline\nDisallow: /\n", False),
        ("mine/2.0 (+https://a.example)", "User-agent: img2dataset\nDisallow: /\n", False),
        ("Mozilla/5.0 (compatible; mine/1; me@a.example)", "User-agent: mine\nDisallow: /\n", False),
        ("mine/2.0 (+https://a.example)", "User-agent: *\nDisallow: /*.jpg$\n", False),
        ("mine/2.0 (+https://a.example)", "User-agent: *\nDisallow: /\nAllow: /a.jpg\n", True),
        ("mine/2.0 (+https://a.example)", "<html>Not here</html>", True),
        ("mine/2.0 (+https://a.example)", "\ufeffUser-agent: *\r\nDisallow: /\r\n", False),
        ("mine/2.0 (+https://a.example)", "", True),
    ],
)
def test_which_crawlers_a_group_addresses(agent: str, rules: str, allowed: bool) -> None:
    (result,), server = fetch_from(GOOD, "/a.jpg", robots=text(rules), user_agent=agent)
    assert result.reason is (None if allowed else Reason.ROBOTS)
    assert server.requested == (["/a.jpg"] if allowed else [])


@pytest.mark.parametrize("status", [204, 304, 401, 403, 404, 410])
def test_without_the_file_everything_is_allowed(status: int) -> None:
    (result,), server = fetch_from(GOOD, "/a.jpg", robots=text("", status))
    assert (result.reason, server.robots) == (None, 1)


@pytest.mark.parametrize(("status", "times"), [(500, 1), (503, 3)])
def test_if_it_cannot_be_read_nothing_is_requested(status: int, times: int) -> None:
    results, server = fetch_from(GOOD, "/a.jpg", "/b.jpg", robots=text("", status))
    assert {(result.reason, result.error) for result in results} == {
        (Reason.HOST_UNAVAILABLE, f"robots.txt: HTTP {status}")
    }
    assert (server.requested, server.robots) == ([], times)


def test_if_the_host_is_busy_nothing_is_requested_and_the_images_are_deferred() -> None:
    results, server = fetch_from(GOOD, "/a.jpg", "/b.jpg", robots=text("", 429), seconds=1.2)
    assert {result.reason for result in results} == {Reason.DEFERRED}
    assert all("robots.txt: HTTP 429" in (result.error or "") for result in results)
    assert (server.requested, server.robots) == ([], 2)


def test_it_may_have_moved() -> None:
    async def moved(request: web.Request) -> web.StreamResponse:
        if request.query:
            return web.Response(text=PRIVATE)
        return web.Response(status=301, headers={"Location": "/robots.txt?here"})

    results, server = fetch_from(GOOD, "/a.jpg", "/private/b.jpg", robots=moved)
    assert [result.reason for result in results] == [None, Reason.ROBOTS]
    assert server.robots == 2


def test_endless_redirects_count_as_no_robots_txt() -> None:
    async def moved(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/robots.txt"})

    (result,), server = fetch_from(GOOD, "/a.jpg", robots=moved)
    assert (result.reason, server.robots) == (None, 6)


def test_the_rest_of_a_file_after_500_kib_is_ignored() -> None:
    filler = "# " + "x" * 997 + "\n"
    long = "User-agent: *\nDisallow: /early\n" + filler * (MAX_BYTES // 1000 + 1) + "Disallow: /late\n"
    results, _ = fetch_from(GOOD, "/early.jpg", "/late.jpg", robots=text(long))
    assert [result.reason for result in results] == [Reason.ROBOTS, None]


def test_of_many_agents_and_rules_only_those_for_us_are_kept() -> None:
    agents = "".join(f"User-agent: a{number}\n" for number in range(15_000))
    rules = agents + "Disallow: /a\n" * 10_000 + "User-agent: *\nDisallow: /b\n"
    results, _ = fetch_from(GOOD, "/a.jpg", "/b.jpg", robots=text(rules))
    assert [result.reason for result in results] == [None, Reason.ROBOTS]
    found = Robots.read(rules.encode(), ("mine",))
    assert [rule.pattern for rule in found.access.matching("https://a.example/b")] == ["/b"]


def test_a_crawl_delay_separates_requests() -> None:
    times: list[float] = []

    async def recording(_request: web.Request) -> web.StreamResponse:
        times.append(asyncio.get_running_loop().time())
        return web.Response(body=BODY)

    results, _ = fetch_from(recording, "/a.jpg", "/b.jpg", "/c.jpg", robots=text("User-agent: *\nCrawl-delay: 0.3\n"))
    assert [result.body for result in results] == [BODY] * 3
    assert times[-1] - times[0] > 0.3  # instead of 0.6: requests take different times to arrive


@pytest.mark.parametrize(
    ("value", "delay"), [("2", 2.0), ("0.5", 0.5), ("86400", MAX_CRAWL_DELAY), ("-1", 0.0), ("nan", 0.0), ("soon", 0.0)]
)
def test_a_crawl_delay_is_limited(value: str, delay: float) -> None:
    assert Robots.read(f"User-agent: *\nCrawl-delay: {value}\n".encode(), ("mine",)).delay == delay


def test_an_archive_does_not_circumvent_a_refusal() -> None:
    archive = "SERVER/archive/{url}"
    (result,), server = fetch_from(GOOD, "/private/a.jpg", robots=text(PRIVATE), routes=("{url}", archive))
    assert (result.reason, server.requested) == (Reason.ROBOTS, [])


def test_a_redirect_that_another_host_forbids_is_not_followed() -> None:
    async def run() -> tuple[list[FetchResult], Server]:
        async with serving(GOOD, text(PRIVATE), host="127.0.0.2") as other:

            async def redirect(request: web.Request) -> web.StreamResponse:
                raise web.HTTPFound(other.address + request.path)

            async with serving(redirect) as server, Fetcher.open(FetchSettings(**USUAL)) as fetcher:
                urls = [server.address + path for path in ("/a.jpg", "/private/b.jpg")]
                return await fetch_all(fetcher, *urls), other

    results, other = asyncio.run(run())
    assert [result.reason for result in results] == [None, Reason.ROBOTS]
    assert (other.requested, other.robots) == (["/a.jpg"], 1)


def test_a_replay_server_has_the_robots_txt_of_each_host_that_it_replays() -> None:
    """The limits are also those of the replayed hosts: one that fails is skipped, and the others are not."""

    async def replay(request: web.Request) -> web.StreamResponse:
        url = request.path.removeprefix("/web/")
        return web.Response(status=500) if "//broken.example/" in url else web.Response(text=json.dumps(url))

    async def robots(request: web.Request) -> web.StreamResponse:
        return web.Response(text=PRIVATE if "//one.example/" in request.path else "")

    async def run() -> tuple[list[FetchResult], Server]:
        async with serving(replay, robots) as server:
            settings = FetchSettings(**{**USUAL, "routes": (server.address + "/web/{url}",), "max_open_per_host": 1})
            async with Fetcher.open(settings) as fetcher:
                urls = ["https://one.example/private/a.jpg", "https://two.example/private/a.jpg"]
                urls += [f"https://broken.example/{number}.jpg" for number in range(20)]
                urls += [f"https://two.example/{number}.jpg" for number in range(20)]
                return await fetch_all(fetcher, *urls), server

    (forbidden, allowed, *rest), server = asyncio.run(run())
    assert (forbidden.reason, forbidden.error) == (Reason.ROBOTS, "see https://one.example/robots.txt")
    assert json.loads(allowed.body) == "https://two.example/private/a.jpg"
    assert [result.reason for result in rest[:20]] == [Reason.HTTP_ERROR] * 10 + [Reason.HOST_UNAVAILABLE] * 10
    assert [result.reason for result in rest[20:]] == [None] * 20
    assert server.robots == 3


@pytest.mark.parametrize(
    ("user_agent", "contact"),
    [
        ("mine/1.0 (+https://example.org/contact)", True),
        ("mine/1.0 (http://a.example)", True),
        ("mine/1.0 me@example.org", True),
        ("mine/1.0", False),
        ("", False),
        ("mine/1.0 (+https://)", False),
        ("mine/1.0 (@me)", False),
        (FetchSettings().user_agent, False),
    ],
)
def test_a_contact_is_a_web_or_e_mail_address(user_agent: str, contact: bool) -> None:
    assert has_contact(user_agent) is contact


def test_the_names_are_the_product_tokens_and_the_names_of_this_program() -> None:
    assert robot_names("Mozilla/5.0 (compatible; My-bot/1; +https://a.example/b/1)")[:2] == ("mozilla", "my-bot")
    assert robot_names("") == ("mmc4-pipeline", "img2dataset")
