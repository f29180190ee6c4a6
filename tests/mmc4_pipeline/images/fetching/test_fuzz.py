"""Mutated robots.txt files and answers, always the same ones: none ends or stops the program, or blames its host."""

import asyncio
import gzip
import random
from collections import Counter
from math import isfinite

from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.interface import FetchResult
from mmc4_pipeline.images.fetching.robots import MAX_BYTES, MAX_CRAWL_DELAY, Robots, robot_names
from mmc4_pipeline.images.fetching.settings import FetchSettings
from schemas.reasons import Reason
from tests.mmc4_pipeline.images.fetching.raw_server import response, serving_raw
from tests.mmc4_pipeline.images.web_server import USUAL, Receiver, fetch_all

ROBOTS = b"""# A robots.txt with everything that the web puts into one.
User-agent: *
User-agent: img2dataset
Disallow: /private/
Allow: /private/*.jpg$
Disallow: /*?session=
Crawl-delay: 0.5
Request-rate: 1/5
Visit-time: 0600-0845

User-agent: mybot/1.0
Disallow: /%C3%BC/\xc3\xbc
Content-Usage: train-ai=n
Sitemap: https://a.example/sitemap.xml
Host: a.example
"""
# What a mutation inserts: bytes that mean something in a robots.txt or in a header.
ROBOTS_TOKENS = [
    *(b"* ** $ : # / ? % %2 %zz \\ \0 \r \r\n \n\n \xff \xef\xbb\xbf \xed\xa0\x80 nan inf 1e999 -1 9/0".split(b" ")),
    *(b"User-agent: *\n", b"Disallow:\n", b"Allow: *a*b*c$\n", b"Crawl-delay: 1e9\n", b"\nDisallow: /" + b"a*" * 3000),
]
HEADER_TOKENS = [
    *(b': , ; = " \0 \r \n \r\n \t \x7f \xff \xc3\xbc chunked gzip br identity 0 -1 99999999999999999999'.split(b" ")),
    *(b"\r\nContent-Length: 7", b"\r\nContent-Encoding: gzip", b"\r\nTransfer-Encoding: chunked", b"\r\n\r\n"),
    *(b"\r\nLocation: //[", b"\r\nX-Robots-Tag: a:\xff", b"\r\nRetry-After: -", b"HTTP/1.1 100 Go on\r\n\r\n"),
    *(b"\r\nX-Many: " + b"a" * 30_000, b"\r\n: " * 200, b"\r\n folded" * 50),
]
URLS = ["https://a.example/private/a.jpg?session=1", "https://a.example/%C3%BC/%", "https://a.example/" + "a" * 3000]
NEVER_ENDED = {Reason.HOST_UNAVAILABLE}  # a header without an end
IMAGE = b"\xff\xd8\xff\xe0 an image \x00\xff\xd9" * 20
FIELDS = (
    b"Content-Type: image/jpeg",
    b"X-Robots-Tag: noindex, mybot: noai",
    b"Set-Cookie: a=b; Path=/",
    b"Retry-After: 0",
)


def mutated(data: bytes, chance: random.Random, tokens: list[bytes], end: int) -> bytes:
    """Return the data with a few parts before `end` changed, removed, repeated or inserted."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        start = chance.randrange(min(end, len(changed)) + 1)
        stop = start + chance.choice((1, 1, 4, 30))
        match chance.randrange(4):
            case 0:
                changed[start : start + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[start:stop]
            case 2:
                changed[start:stop] = changed[start:stop] * chance.choice((2, 200))
            case _:
                changed[start:start] = chance.choice(tokens)
    return bytes(changed)


def test_mutated_robots_txt_files_are_rules_or_refused() -> None:
    chance, names = random.Random(3), robot_names("mybot/1.0 (+https://my.example/)")
    read = 0
    for number in range(200):
        body = mutated(ROBOTS * (1 if number % 4 else 50), chance, ROBOTS_TOKENS, len(ROBOTS) * 50)
        try:
            robots = Robots.read(body, names)
        except ValueError:
            continue
        read += 1
        assert all(robots.allows(url) in (True, False) for url in URLS)
        assert isfinite(robots.delay)
        assert robots.delay <= MAX_CRAWL_DELAY
    assert read > 150


def test_a_robots_txt_of_the_largest_size_is_read_in_any_repetition() -> None:
    """Anything that is not linear would take minutes."""
    for token in ROBOTS_TOKENS[:18]:
        repeated = b"User-agent: *\nDisallow: /" + token * (MAX_BYTES // len(token))
        assert Robots.read(repeated, "mybot").allows("https://a.example/b" + "/a" * 1000) in (True, False)


def mutated_answers() -> list[bytes]:
    chance, found = random.Random(4), []
    kinds = (
        response(IMAGE, *FIELDS),
        response(gzip.compress(IMAGE, mtime=0), *FIELDS, b"Content-Encoding: gzip"),
        response(b"%x\r\n%b\r\n0\r\n\r\n" % (len(IMAGE), IMAGE), *FIELDS, b"Transfer-Encoding: chunked", length=False),
        response(b"", *FIELDS, b"Location: /other.jpg", status=b"HTTP/1.1 302 Found"),
    )
    for number in range(200):
        answer = kinds[number % len(kinds)]
        found.append(mutated(answer, chance, HEADER_TOKENS, answer.index(b"\r\n\r\n") + 20))
    return found


def test_no_mutated_answer_ends_the_program_or_counts_as_the_hosts_failure() -> None:
    answers = mutated_answers()

    def answer(target: str, _before: int) -> bytes:
        number = target.strip("/")
        return answers[int(number)] if number.isdecimal() and int(number) < len(answers) else response(IMAGE)

    async def run() -> tuple[list[FetchResult], FetchResult]:
        settings = FetchSettings(**{**USUAL, "timeout": 5.0, "max_open_per_host": 20})
        async with serving_raw(answer) as server, Fetcher.open(settings) as fetcher:
            here = Receiver(denied=lambda url: not url.startswith(server.address))
            urls = [f"{server.address}/{number}" for number in range(len(answers))]
            results = await fetch_all(fetcher, *urls, receiver=here)
            return results, (await fetch_all(fetcher, f"{server.address}/last.jpg"))[0]

    results, last = asyncio.run(run())
    reasons = Counter(result.reason for result in results)
    assert reasons.keys() <= {None, Reason.OPTED_OUT, Reason.DENIED, Reason.HTTP_ERROR, Reason.CORRUPT} | NEVER_ENDED
    assert reasons[None] > 20
    assert reasons[Reason.CORRUPT] > 20
    assert sum(reasons[reason] for reason in NEVER_ENDED) < 10
    assert (last.body, last.reason) == (IMAGE, None)
