"""Answers as real servers send them: odd headers, odd codings, and bodies that break off."""

import asyncio
import gzip
import zlib

import brotli
import pytest
import zstandard

from mmc4_pipeline.images.fetching.fetcher import Fetcher
from mmc4_pipeline.images.fetching.interface import ImageRequest
from mmc4_pipeline.images.fetching.rate_limits import Host
from mmc4_pipeline.images.fetching.settings import FetchSettings
from schemas.reasons import Reason
from tests.mmc4_pipeline.images.fetching.raw_server import answers_of, response, serving_raw
from tests.mmc4_pipeline.images.web_server import MOMENT, USUAL, fetch_all

IMAGE = b"\xff\xd8\xff\xe0 an image \r\n\r\n\x00\xff\xd9"
ROBOTS = b"User-agent: *\nDisallow: /private/\n"
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n"


HEADERS = {
    "a Content-Security-Policy of 9 kB": (b"Content-Security-Policy: " + b"a" * 9_000,),
    "a cookie of 60 kB": (b"Set-Cookie: a=" + b"b" * 60_000,),
    "200 fields": tuple(b"X-%d: y" % number for number in range(200)),
    "900 fields of 200 bytes": tuple(b"X-%d: %b" % (number, b"y" * 200) for number in range(900)),
    "a space before the colon": (b"P3P : CP=x",),
    "a space in a name": (b"X Foo: bar",),
    "a line of one colon": (b":",),
    "a name that is not ASCII": ("Größe: 1".encode(),),
    "a value in Latin-1": (b"Server: caf\xe9",),
    "a control character": (b"Server: a\x01b",),
    "a folded line": (b"X-Folded: a", b"\tb"),
    "a tab after the colon": (b"X-Tab:\tb",),
    "Transfer-Encoding: identity": (b"Transfer-Encoding: identity",),
    "an unknown charset as coding": (b"Content-Encoding: UTF-8",),
    "none as coding": (b"Content-Encoding: none",),
    "an empty coding": (b"Content-Encoding:",),
    "gzip, but it is not": (b"Content-Encoding: gzip",),
    "two of the same type": (b"Content-Type: image/jpeg", b"Content-Type: image/jpeg"),
}


@pytest.mark.parametrize("fields", HEADERS.values(), ids=HEADERS)
def test_odd_headers_lose_neither_an_image_nor_a_robots_txt(fields: tuple[bytes, ...]) -> None:
    def answer(target: str, _before: int) -> bytes:
        body = ROBOTS if target == "/robots.txt" else IMAGE
        return response(body, *fields)

    (image, private), server = answers_of(answer, "/a.jpg", "/private/a.jpg", robots_txt=True)
    assert (image.body, image.reason, private.reason) == (IMAGE, None, Reason.ROBOTS)
    assert server.targets == ["/robots.txt", "/a.jpg"]


EXTENDED = b"%x;name=value\r\n%b\r\n0\r\nTrailer: x\r\n\r\n"
CHUNKS = CHUNKED % (len(IMAGE), IMAGE)
IN_CHUNKS = b"Transfer-Encoding: chunked"
LENGTH = b"Content-Length: %d" % len(IMAGE)
WHOLE = {
    "Content-Length twice": response(IMAGE, LENGTH),
    "Content-Length as a list": response(IMAGE, LENGTH + b", %d" % len(IMAGE), length=False),
    "chunked, with a Content-Length": response(CHUNKS, IN_CHUNKS, LENGTH, length=False),
    "chunks with extensions": response(EXTENDED % (len(IMAGE), IMAGE), IN_CHUNKS, length=False),
    "chunked twice": response(CHUNKS, IN_CHUNKS, IN_CHUNKS, length=False),
    "no Content-Length": response(IMAGE, length=False),
    "HTTP 2 in the status line": response(IMAGE, status=b"HTTP/2 200"),
    "a status line in lower case": response(IMAGE, status=b"http/1.1 200 ok"),
    "a tab in the status line": response(IMAGE, status=b"HTTP/1.1\t200 OK"),
    "HTTP 1.0": response(IMAGE, status=b"HTTP/1.0 200 OK"),
    "a status without a reason": response(IMAGE, status=b"HTTP/1.1 200"),
    "bytes after the body": response(IMAGE) + b"and more",
    "lines that end in LF": response(IMAGE).replace(b"\r\n", b"\n", 4),
    "an interim answer": b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + response(IMAGE),
    "gzip": response(gzip.compress(IMAGE), b"Content-Encoding: gzip"),
    "x-gzip": response(gzip.compress(IMAGE), b"Content-Encoding: x-gzip"),
    "GZIP, after identity": response(gzip.compress(IMAGE), b"Content-Encoding: identity, GZIP"),
    "deflate": response(zlib.compress(IMAGE), b"Content-Encoding: deflate"),
    "raw deflate": response(zlib.compress(IMAGE, wbits=-15), b"Content-Encoding: deflate"),
    "brotli": response(brotli.compress(IMAGE), b"Content-Encoding: br"),
    "zstd": response(zstandard.compress(IMAGE), b"Content-Encoding: zstd"),
    "gzip twice": response(gzip.compress(gzip.compress(IMAGE)), b"Content-Encoding: gzip, gzip"),
}  # fmt: skip


@pytest.mark.parametrize("raw", WHOLE.values(), ids=WHOLE)
def test_an_image_is_read_however_it_is_framed_and_coded(raw: bytes) -> None:
    (image,), server = answers_of(lambda _target, _before: raw, "/a.jpg")
    assert (image.body, image.reason, len(server.targets)) == (IMAGE, None, 1)


MALFORMED = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "HTTP 0.9": IMAGE,
    "different lengths": response(IMAGE, b"Content-Length: 5"),
    "a header of a megabyte": response(IMAGE, b"X: " + b"a" * (1 << 20)),
    "a status of two digits": response(IMAGE, status=b"HTTP/1.1 20 OK"),
    "only an interim answer": b"HTTP/1.1 101 Switching Protocols\r\n\r\nhello",
    "a gzip that is not one, twice": response(gzip.compress(IMAGE), b"Content-Encoding: gzip, gzip"),
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_answer_is_not_the_hosts_failure_and_not_requested_three_times(raw: bytes) -> None:
    paths = [f"/{number}.jpg" for number in range(12)]
    results, server = answers_of(lambda target, _before: response(IMAGE) if target == "/last" else raw, *paths, "/last")
    assert [result.reason for result in results] == [Reason.CORRUPT] * 12 + [None]
    is_final = raw in (MALFORMED["a header of a megabyte"], MALFORMED["a gzip that is not one, twice"])
    times = 1 if is_final else 2  # perhaps only libcurl refuses the header (lenient.py)
    assert server.targets == [path for path in paths for _ in range(times)] + ["/last"]


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_malformed_answers_do_not_slow_their_host_down(raw: bytes) -> None:
    async def run() -> tuple[Host, int]:
        settings = FetchSettings(**USUAL, robots_txt=False)
        async with serving_raw(lambda *_: raw) as server, Fetcher.open(settings) as fetcher:
            host = fetcher.first_host(ImageRequest(server.address, MOMENT))
            await fetch_all(fetcher, *(f"{server.address}/{number}.jpg" for number in range(12)))
            return host, len(server.targets)

    host, requests = asyncio.run(run())
    assert (host.health, host.failures, host.answered) == (1.0, 0, requests)


BROKEN_OFF = {
    "within the length": response(IMAGE)[:-5],
    "at once": response(IMAGE)[: -len(IMAGE)],
    "within a chunk": response(b"40\r\n" + IMAGE, IN_CHUNKS, length=False),
    "before the last chunk": response(CHUNKS, IN_CHUNKS, length=False)[:-5],
    "within the header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "before the header": b"",
}


@pytest.mark.parametrize("raw", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_an_answer_that_breaks_off_is_requested_again(raw: bytes) -> None:
    (image,), server = answers_of(lambda _target, before: response(IMAGE) if before else raw, "/a.jpg")
    assert (image.body, image.reason, len(server.targets)) == (IMAGE, None, 2)


@pytest.mark.parametrize("raw", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_a_robots_txt_that_breaks_off_is_requested_again(raw: bytes) -> None:
    def answer(target: str, before: int) -> bytes:
        if target != "/robots.txt":
            return response(IMAGE)
        return response(ROBOTS) if before else raw

    (image, private), server = answers_of(answer, "/a.jpg", "/private/a.jpg", robots_txt=True)
    assert (image.body, image.reason, private.reason) == (IMAGE, None, Reason.ROBOTS)
    assert server.targets == ["/robots.txt", "/robots.txt", "/a.jpg"]


@pytest.mark.parametrize(
    ("answer", "reasons"),
    [
        (response(ROBOTS, b"Content-Encoding: gzip"), [None, Reason.ROBOTS]),
        (response(b"\x1f\x8b\x08broken\n" + ROBOTS, b"Content-Encoding: gzip"), [None, Reason.ROBOTS]),
        (response(b"\xff\x00 :::\n\r" + ROBOTS), [None, Reason.ROBOTS]),
        (response(b"", b"no field", status=b"HTTP/1.1 404 Not Found"), [None, None]),
        (response(b"", b"no field", status=b"HTTP/1.1 500 Oops"), [Reason.HOST_UNAVAILABLE] * 2),
        (response(ROBOTS, b"no field"), [None, Reason.ROBOTS]),
        (response(ROBOTS, b"Content-Length: 1"), [Reason.HOST_UNAVAILABLE] * 2),
    ],
)
def test_of_a_malformed_robots_txt_whatever_can_be_read_counts(answer: bytes, reasons: list[Reason | None]) -> None:
    def answers(target: str, _before: int) -> bytes:
        return answer if target == "/robots.txt" else response(IMAGE)

    results, _ = answers_of(answers, "/a.jpg", "/private/a.jpg", robots_txt=True)
    assert [result.reason for result in results] == reasons


@pytest.mark.parametrize("status", [b"HTTP/1.1 203 Changed", b"HTTP/1.1 299 x"])
def test_each_success_has_an_image_and_a_robots_txt(status: bytes) -> None:
    def answer(target: str, _before: int) -> bytes:
        return response(ROBOTS if target == "/robots.txt" else IMAGE, status=status)

    (image, private), _ = answers_of(answer, "/a.jpg", "/private/a.jpg", robots_txt=True)
    assert (image.reason, image.body, private.reason) == (None, IMAGE, Reason.ROBOTS)


def test_part_of_a_robots_txt_has_rules_but_part_of_an_image_is_an_error() -> None:
    def answer(target: str, _before: int) -> bytes:
        return response(ROBOTS if target == "/robots.txt" else IMAGE, status=b"HTTP/1.1 206 Partial Content")

    (image, private), _ = answers_of(answer, "/a.jpg", "/private/a.jpg", robots_txt=True)
    assert (image.reason, private.reason) == (Reason.HTTP_ERROR, Reason.ROBOTS)


@pytest.mark.parametrize("status", [b"HTTP/1.1 204 No Content", b"HTTP/1.1 205 Reset", b"HTTP/1.1 304 Not Modified"])
def test_an_answer_that_has_no_content_is_an_error(status: bytes) -> None:
    (image,), server = answers_of(lambda _target, _before: response(b"", status=status), "/a.jpg")
    assert (image.reason, len(server.targets)) == (Reason.HTTP_ERROR, 1)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ((b"Location: /b.jpg", b"Location: /b.jpg"), "/b.jpg"),
        ((b"Location:", b"Location: /b.jpg"), "/b.jpg"),
        ((b"Location:\r\n /b.jpg",), "/b.jpg"),
        ((b"location : b c.jpg",), "/b%20c.jpg"),
        ((b"Location: \\b\xc3\xbc.jpg",), "/b%C3%BC.jpg"),
        ((b"Location: /b.jpg\xfc",), "/b.jpg%C3%BC"),
        ((b"Location:",), None),
        ((), None),
    ],
)
def test_a_redirect_leads_to_its_first_location(fields: tuple[bytes, ...], path: str | None) -> None:
    def answer(target: str, _before: int) -> bytes:
        return response(b"", *fields, status=b"HTTP/1.1 302 Found") if target == "/a.jpg" else response(IMAGE)

    (image,), server = answers_of(answer, "/a.jpg")
    assert list(dict.fromkeys(server.targets)) == ["/a.jpg", *([path] if path else [])]
    assert image.reason == (None if path else Reason.HTTP_ERROR)
