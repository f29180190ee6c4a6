"""robots.txt over real HTTP: what it forbids is not asked for, and it is asked for once."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from mmc4_pipeline.images.fetching.fetch import Answer, Fetcher, FetchSettings, Request
from mmc4_pipeline.images.fetching.robots import LONGEST_DELAY, MAX_BYTES, Robots, has_contact, robot_names
from schemas.reasons import Reason
from tests.mmc4_pipeline.images.web_server import BODY, MOMENT, USUAL, Server, answering, ask, keep, noai, serving

GOOD = answering(web.Response(body=BODY))
PRIVATE = "User-agent: *\nDisallow: /private/\n"


def text(content: str, status: int = 200) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    return answering(web.Response(body=content.encode(), status=status))


def test_what_it_forbids_is_not_asked_for_and_it_is_asked_for_once() -> None:
    answers, server = ask(GOOD, "/a.jpg", "/private/b.jpg", "/private/c.jpg", "/d.jpg", robots=text(PRIVATE))
    assert [answer.reason for answer in answers] == [None, Reason.ROBOTS, Reason.ROBOTS, None]
    assert answers[1].error == f"see {server.address}/robots.txt"
    assert (sorted(server.asked), server.robots) == (["/a.jpg", "/d.jpg"], 1)


def test_it_can_be_ignored() -> None:
    (answer,), server = ask(GOOD, "/private/a.jpg", robots=text(PRIVATE), robots_txt=False)
    assert (answer.reason, server.robots) == (None, 0)


@pytest.mark.parametrize(
    ("agent", "rules", "allowed"),
    [
        ("mine/2.0 (+https://a.example)", "User-agent: mine\nDisallow: /\n", False),
        ("mine/2.0 (+https://a.example)", "User-agent: MINE\nDisallow: /\n\nUser-agent: *\nAllow: /\n", False),
        ("mine/2.0 (+https://a.example)", "User-agent: mine\nAllow: /\n\nUser-agent: *\nDisallow: /\n", True),
        ("mine/2.0 (+https://a.example)", "User-agent: other\nDisallow: /\n", True),
        ("mine/2.0 (+https://a.example)", "User-agent: example\nDisallow: /\n", True),  # of the address, no name
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
def test_whom_it_is_about(agent: str, rules: str, allowed: bool) -> None:
    (answer,), server = ask(GOOD, "/a.jpg", robots=text(rules), user_agent=agent)
    assert answer.reason is (None if allowed else Reason.ROBOTS)
    assert server.asked == (["/a.jpg"] if allowed else [])


@pytest.mark.parametrize("status", [204, 304, 401, 403, 404, 410])
def test_without_one_all_is_allowed(status: int) -> None:
    (answer,), server = ask(GOOD, "/a.jpg", robots=text("", status))
    assert (answer.reason, server.robots) == (None, 1)


@pytest.mark.parametrize(("status", "times"), [(500, 1), (503, 3), (429, 3)])
def test_where_it_cannot_be_had_nothing_is_asked_for(status: int, times: int) -> None:
    answers, server = ask(GOOD, "/a.jpg", "/b.jpg", robots=text("", status))
    assert {(answer.reason, answer.error) for answer in answers} == {
        (Reason.HOST_UNAVAILABLE, f"robots.txt: HTTP {status}")
    }
    assert (server.asked, server.robots) == ([], times)


def test_it_may_have_moved() -> None:
    async def moved(request: web.Request) -> web.StreamResponse:
        if request.query:
            return web.Response(text=PRIVATE)
        return web.Response(status=301, headers={"Location": "/robots.txt?here"})

    answers, server = ask(GOOD, "/a.jpg", "/private/b.jpg", robots=moved)
    assert [answer.reason for answer in answers] == [None, Reason.ROBOTS]
    assert server.robots == 2


def test_redirects_without_end_are_no_robots_txt() -> None:
    async def moved(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/robots.txt"})

    (answer,), server = ask(GOOD, "/a.jpg", robots=moved)
    assert (answer.reason, server.robots) == (None, 6)


def test_what_comes_after_500_kib_is_not_read() -> None:
    filler = "# " + "x" * 997 + "\n"
    long = "User-agent: *\nDisallow: /early\n" + filler * (MAX_BYTES // 1000 + 1) + "Disallow: /late\n"
    answers, _ = ask(GOOD, "/early.jpg", "/late.jpg", robots=text(long))
    assert [answer.reason for answer in answers] == [Reason.ROBOTS, None]


def test_a_file_made_to_fill_the_memory_is_refused() -> None:
    agents = "".join(f"User-agent: a{number}\n" for number in range(15_000))
    (answer,), server = ask(GOOD, "/a.jpg", robots=text(agents + "Allow: /a\n" * 25_000))
    assert answer.reason is Reason.HOST_UNAVAILABLE
    assert "too many" in (answer.error or "")
    assert server.asked == []


def test_a_crawl_delay_keeps_requests_apart() -> None:
    moments: list[float] = []

    async def noting(_request: web.Request) -> web.StreamResponse:
        moments.append(asyncio.get_running_loop().time())
        return web.Response(body=BODY)

    answers, _ = ask(noting, "/a.jpg", "/b.jpg", "/c.jpg", robots=text("User-agent: *\nCrawl-delay: 0.3\n"))
    assert [answer.body for answer in answers] == [BODY] * 3
    assert moments[-1] - moments[0] > 0.3  # of 0.6: what a request takes to arrive differs


@pytest.mark.parametrize(
    ("said", "delay"), [("2", 2.0), ("0.5", 0.5), ("86400", LONGEST_DELAY), ("-1", 0.0), ("nan", 0.0), ("soon", 0.0)]
)
def test_a_crawl_delay_has_its_bounds(said: str, delay: float) -> None:
    assert Robots.read(f"User-agent: *\nCrawl-delay: {said}\n".encode(), "mine").delay == delay


def test_a_refusal_is_final_for_the_host_itself_and_of_no_matter_in_an_archive() -> None:
    archive = "SERVER/archive/{url}"
    (answer,), server = ask(GOOD, "/private/a.jpg", robots=text(PRIVATE), routes=("{url}", archive))
    assert (answer.reason, server.asked) == (Reason.ROBOTS, [])


def test_a_redirect_to_what_is_forbidden_elsewhere_is_not_followed() -> None:
    async def run() -> tuple[list[Answer], Server]:
        async with serving(GOOD, text(PRIVATE), host="127.0.0.2") as other:

            async def redirect(request: web.Request) -> web.StreamResponse:
                raise web.HTTPFound(other.address + request.path)

            async with serving(redirect) as server, Fetcher.open(FetchSettings(**USUAL), noai) as fetcher:
                asked = [Request(server.address + path, MOMENT) for path in ("/a.jpg", "/private/b.jpg")]
                return await asyncio.gather(*(fetcher.fetch(request, keep) for request in asked)), other

    answers, other = asyncio.run(run())
    assert [answer.reason for answer in answers] == [None, Reason.ROBOTS]
    assert (other.asked, other.robots) == (["/a.jpg"], 1)


def test_a_replay_server_is_asked_for_the_robots_txt_of_the_host_it_replays() -> None:
    """Manners are then towards that host: one that fails is given up, and the others are not."""

    async def replay(request: web.Request) -> web.StreamResponse:
        url = request.path.removeprefix("/web/")
        return web.Response(status=500) if "//broken.example/" in url else web.Response(text=json.dumps(url))

    async def robots(request: web.Request) -> web.StreamResponse:
        return web.Response(text=PRIVATE if "//one.example/" in request.path else "")

    async def run() -> tuple[list[Answer], Server]:
        async with serving(replay, robots) as server:
            settings = FetchSettings(**{**USUAL, "routes": (server.address + "/web/{url}",), "max_open_per_host": 1})
            async with Fetcher.open(settings, noai) as fetcher:
                urls = ["https://one.example/private/a.jpg", "https://two.example/private/a.jpg"]
                urls += [f"https://broken.example/{number}.jpg" for number in range(20)]
                urls += [f"https://two.example/{number}.jpg" for number in range(20)]
                return await asyncio.gather(*(fetcher.fetch(Request(url, MOMENT), keep) for url in urls)), server

    (forbidden, allowed, *rest), server = asyncio.run(run())
    assert (forbidden.reason, forbidden.error) == (Reason.ROBOTS, "see https://one.example/robots.txt")
    assert json.loads(allowed.body) == "https://two.example/private/a.jpg"
    assert [answer.reason for answer in rest[:20]] == [Reason.HTTP_ERROR] * 10 + [Reason.HOST_UNAVAILABLE] * 10
    assert [answer.reason for answer in rest[20:]] == [None] * 20
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


def test_the_names_are_the_product_tokens_and_the_program_s() -> None:
    assert robot_names("Mozilla/5.0 (compatible; my-bot/1; +https://a.example/b/1)").split()[:2] == [
        "Mozilla",
        "my-bot",
    ]
    assert robot_names("") == "mmc4-pipeline img2dataset"
