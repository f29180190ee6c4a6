"""Answers whose header libcurl refuses and browsers read: they are requested once more, and read then."""

import asyncio
import gzip
import ssl
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pycurl
import pytest

from benchmarks.fetch import make_certificates
from mmc4_pipeline.images.fetching.addresses import ForbiddenAddressError
from mmc4_pipeline.images.fetching.lenient import LenientRequest
from mmc4_pipeline.images.fetching.messages import LARGE_BODY, Body, Response
from mmc4_pipeline.images.fetching.settings import FetchSettings
from schemas.reasons import Reason
from tests.mmc4_pipeline.images.fetching.raw_server import RawServer, answers_of, response, serving_raw
from tests.mmc4_pipeline.images.web_server import USUAL, Receiver

IMAGE = b"\xff\xd8\xff\xe0 an image \r\n\r\n\x00\xff\xd9"
LARGE = IMAGE + bytes(2 * LARGE_BODY)
ROBOTS = b"User-agent: *\nDisallow: /private/\n"
NO_FIELD, TYPE = b"preload", b"Content-Type: image/jpeg"
IN_CHUNKS = b"Transfer-Encoding: chunked"
SETTINGS = FetchSettings(**USUAL)


def chunks(*parts: bytes, size: bytes = b"%x\r\n", end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(size % len(part) + part + b"\r\n" for part in parts) + end


READ = {
    "a line without a colon, first": response(IMAGE, NO_FIELD, TYPE),
    "a line without a colon, last": response(IMAGE, TYPE, NO_FIELD),
    "a line without a colon, twice": response(IMAGE, NO_FIELD, TYPE, b"<html>"),
    "a folded line after one without a colon": response(IMAGE, NO_FIELD, b"\tand more", TYPE),
    "the status line twice": response(IMAGE, b"HTTP/1.1 200 OK", TYPE),
    "a NUL": response(IMAGE, b"X-Powered-By: a\0b"),
    "a CR in a value": response(IMAGE, b"Set-Cookie: a\rb"),
    "line ends of CR CR LF": response(IMAGE, TYPE).replace(b"\r\n", b"\r\r\n", 5),
    "line ends of LF": response(IMAGE, NO_FIELD, TYPE).replace(b"\r\n", b"\n", 6),
    "no length": response(IMAGE, NO_FIELD, length=False),
    "in chunks": response(chunks(IMAGE), NO_FIELD, IN_CHUNKS, length=False),
    "in small chunks with extensions": response(
        chunks(IMAGE[:1], IMAGE[1:3], IMAGE[3:], size=b"00%X ;a=b\r\n", end=b"0\r\nno trailer\r\n\r\n"),
        NO_FIELD, b"transfer-encoding:Chunked", length=False,
    ),
    "in chunks, with a wrong length": response(chunks(IMAGE), IN_CHUNKS, b"Content-Length: all", length=False),
    "the same length twice": response(IMAGE, NO_FIELD, b"content-length: %d, %d" % (len(IMAGE), len(IMAGE))),
    "an interim answer": b"HTTP/1.1 103 Early Hints\r\npreload\r\n\r\n" + response(IMAGE),
    "bytes after the body": response(IMAGE, NO_FIELD) + b"and more",
    "gzip": response(gzip.compress(IMAGE), NO_FIELD, b"Content-Encoding: gzip"),
    "gzip, but it is not": response(IMAGE, NO_FIELD, b"Content-Encoding: gzip"),
    "an empty line before the status": b"\r\n" + response(IMAGE),
    "empty lines before the status": b"\n\r\n\n" + response(IMAGE),
    "no minor version": response(IMAGE, status=b"HTTP/1 200 OK"),
    "a minor version of 2": response(IMAGE, status=b"HTTP/1.2 200 OK"),
    "two spaces in the status line": response(IMAGE, status=b"HTTP/1.1  200 OK"),
    "another protocol before the answer": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + response(IMAGE),
    "an unknown transfer coding": response(IMAGE, b"Transfer-Encoding: chunk"),
    "binary as transfer coding": response(IMAGE, b"Transfer-Encoding: binary"),
    "a transfer coding before chunks": response(
        chunks(gzip.compress(IMAGE)), b"Transfer-Encoding: gzip, chunked", b"Content-Encoding: gzip", length=False
    ),
    "a transfer coding after chunks": response(chunks(IMAGE), b"Transfer-Encoding: chunked, identity", length=False),
    "no number as length": response(IMAGE, b"Content-Length:", length=False),
    "a space as length": response(IMAGE, b"Content-Length: ", length=False),
    "a word as length": response(IMAGE, b"Content-Length: all", length=False),
    "a negative length": response(IMAGE, b"Content-Length: -1", length=False),
    "a length in bytes": response(IMAGE, b"Content-Length: 3 bytes", length=False),
    "a length of 5,000 digits": response(IMAGE, NO_FIELD, b"Content-Length: " + b"9" * 5000, length=False),
}  # fmt: skip


@pytest.mark.parametrize("raw", READ.values(), ids=READ)
def test_what_browsers_read_is_requested_once_more_and_read(raw: bytes) -> None:
    (image,), server = answers_of(lambda _target, _before: raw, "/a.jpg")
    assert (image.reason, image.error, image.body, image.status) == (None, None, IMAGE, 200)
    assert server.targets == ["/a.jpg"] * 2


@pytest.mark.parametrize("raw", [response(LARGE, NO_FIELD), response(chunks(LARGE), NO_FIELD, IN_CHUNKS, length=False)])
def test_a_large_image_is_read_too(raw: bytes) -> None:
    (image,), _ = answers_of(lambda _target, _before: raw, "/a.jpg")
    assert (image.reason, image.body) == (None, LARGE)


def test_a_robots_txt_is_read_and_its_rules_hold() -> None:
    def answer(target: str, _before: int) -> bytes:
        return response(ROBOTS if target == "/robots.txt" else IMAGE, NO_FIELD)

    (image, private), server = answers_of(answer, "/a.jpg", "/private/a.jpg", robots_txt=True)
    assert (image.body, private.reason) == (IMAGE, Reason.ROBOTS)
    assert server.targets == ["/robots.txt"] * 2 + ["/a.jpg"] * 2


@pytest.mark.parametrize("tag", [b"X-Robots-Tag: noai", b"X-Robots-Tag: noai\0", b"x-robots-tag :\r\n noai"])
def test_the_other_fields_count(tag: bytes) -> None:
    (image,), _ = answers_of(lambda _target, _before: response(IMAGE, NO_FIELD, tag), "/a.jpg", receiver=Receiver())
    assert (image.reason, image.body) == (Reason.OPTED_OUT, b"")


def test_a_redirect_is_followed_and_judged() -> None:
    def answer(target: str, _before: int) -> bytes:
        location = b"Location: /private/c.jpg" if target == "/b.jpg" else b"Location: /d.jpg"
        answers = {"/robots.txt": response(ROBOTS), "/d.jpg": response(IMAGE)}
        return answers.get(target) or response(b"gone", NO_FIELD, location, status=b"HTTP/1.1 302 Found")

    (image, private), server = answers_of(answer, "/a.jpg", "/b.jpg", robots_txt=True)
    assert (image.body, private.reason) == (IMAGE, Reason.ROBOTS)
    assert server.targets == ["/robots.txt", "/a.jpg", "/a.jpg", "/d.jpg", "/b.jpg", "/b.jpg"]


def test_an_error_is_known_without_a_second_request() -> None:
    (image,), server = answers_of(
        lambda _target, _before: response(b"", NO_FIELD, status=b"HTTP/1.1 404 Not Found"), "/a.jpg"
    )
    assert (image.reason, image.status, len(server.targets)) == (Reason.HTTP_ERROR, 404, 1)


ENDLESS = b"fffffffffffffff\r\n" + bytes(2000)
UNREADABLE = {
    "too large": (response(IMAGE + bytes(2000), NO_FIELD), Reason.TOO_LARGE),
    "too large, in chunks": (response(chunks(bytes(900), bytes(900)), NO_FIELD, IN_CHUNKS), Reason.TOO_LARGE),
    "a chunk that claims an exabyte": (response(ENDLESS, NO_FIELD, IN_CHUNKS), Reason.TOO_LARGE),
    "a header that is too large": (response(IMAGE, NO_FIELD, *[b"X: " + b"a" * 90_000] * 4), Reason.CORRUPT),
    "a line that is too large": (response(IMAGE, NO_FIELD, b"X: " + b"a" * 400_000), Reason.CORRUPT),
    "a header of too many lines": (response(IMAGE, NO_FIELD, *[b"X:"] * 6000), Reason.CORRUPT),
    "endless interim answers": (b"HTTP/1.1 103 Hints\r\npreload\r\n\r\n" * 9000, Reason.CORRUPT),
    "different lengths": (response(IMAGE, NO_FIELD, b"Content-Length: 5"), Reason.CORRUPT),
    "a header that breaks off": (b"HTTP/1.1 200 OK\r\npreload\r\nContent-Le", Reason.CORRUPT),
}


@pytest.mark.parametrize(("raw", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_the_bounds_hold(raw: bytes, reason: Reason) -> None:
    (image,), server = answers_of(lambda _target, _before: raw, "/a.jpg", max_bytes=1000)
    assert (image.reason, image.body, server.targets) == (reason, b"", ["/a.jpg"] * 2)


BROKEN_OFF = {
    "within the length": response(IMAGE, NO_FIELD)[:-1],
    "within a chunk": response(chunks(IMAGE)[:-12], NO_FIELD, IN_CHUNKS, length=False),
    "before the last chunk": response(chunks(IMAGE, end=b""), NO_FIELD, IN_CHUNKS, length=False),
    "at a negative chunk": response(b"-1\r\n" + IMAGE, NO_FIELD, IN_CHUNKS, length=False),
    "at a chunk that is longer than its size": response(b"1\r\n" + IMAGE, NO_FIELD, IN_CHUNKS, length=False),
}


@pytest.mark.parametrize("raw", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_a_body_that_breaks_off_is_not_complete(raw: bytes) -> None:
    found, _ = asked(raw)
    assert (found.status, found.code, found.is_complete) == (200, pycurl.E_RECV_ERROR, False)


def test_a_body_that_breaks_off_is_requested_again() -> None:
    (image,), server = answers_of(
        lambda _target, before: response(IMAGE, NO_FIELD)[: None if before > 1 else -1], "/a.jpg"
    )
    assert (image.reason, image.body, len(server.targets)) == (None, IMAGE, 4)


@pytest.mark.parametrize(
    ("start", "status"), [(b"HTTP/1.1 200 OK\r\npreload\r\n", None), (response(IMAGE, NO_FIELD)[:-1], 200)]
)
def test_a_server_that_stops_sending_is_given_up(start: bytes, status: int | None) -> None:
    found, _ = asked(start, keeps_open=True, settings=replace(SETTINGS, timeout=0.2))
    assert (found.status, found.code, found.is_complete) == (status, pycurl.E_OPERATION_TIMEDOUT, False)


def asked(
    raw: bytes,
    *,
    name: str = "127.0.0.1",
    settings: FetchSettings = SETTINGS,
    tls: ssl.SSLContext | None = None,
    keeps_open: bool = False,
) -> tuple[Response, RawServer]:
    """Make a single lenient request."""

    async def run() -> tuple[Response, RawServer]:
        async with serving_raw(lambda *_: raw, tls, keeps_open=keeps_open) as server:
            scheme, _, authority = server.address.partition("://")
            port = int(authority.rpartition(":")[2])
            request = LenientRequest(f"{scheme}://{name}:{port}/a?b=%2f", ("127.0.0.1", port), settings)
            await request.run(lambda _response: Body(1000, is_collected=True), nothing)
            return request.response, server

    return asyncio.run(run())


def test_it_connects_to_the_same_address_without_looking_up_the_name() -> None:
    found, server = asked(response(IMAGE, NO_FIELD), name="no-such-host.invalid")
    assert (found.body, found.is_complete, server.targets) == (IMAGE, True, ["/a?b=%2f"])


def test_it_never_connects_to_a_private_address() -> None:
    found, server = asked(response(IMAGE, NO_FIELD), settings=FetchSettings())
    assert (found.status, server.targets) == (None, [])
    assert isinstance(found.os_error, ForbiddenAddressError)


def test_the_request_is_the_same_but_for_its_connection() -> None:
    _, server = answers_of(lambda *_: response(IMAGE, NO_FIELD), "/a.jpg?b=%e2%2F{}")
    first, second = (head.split(b"\r\n") for head in server.heads)
    assert [line for line in second if line != b"Connection: close"] == first


def test_the_user_in_a_url_is_sent_as_libcurl_sends_it() -> None:
    _, server = asked(response(IMAGE), name="us%40er:p%C3%A4w@127.0.0.1")
    assert b"Authorization: Basic " + b64encode("us@er:päw".encode()) in server.heads[0].split(b"\r\n")


def test_it_is_not_requested_again_after_the_deadline() -> None:
    (image,), server = answers_of(lambda *_: response(IMAGE, NO_FIELD), "/a.jpg", delay_per_host=1000.0, seconds=500.0)
    assert (image.reason, len(server.targets)) == (Reason.DEFERRED, 1)


def test_tiny_chunks_do_not_keep_the_event_loop_from_other_tasks() -> None:
    turns, number = 0, 20_000

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def run() -> bytes:
        raw = response(chunks(*[b"a"] * number), NO_FIELD, IN_CHUNKS, length=False)
        async with serving_raw(lambda *_: raw) as server:
            port = int(server.address.rpartition(":")[2])
            request = LenientRequest(f"{server.address}/", ("127.0.0.1", port), SETTINGS)
            counting = asyncio.create_task(count())
            await request.run(lambda _: Body(number, is_collected=True), nothing)
            counting.cancel()
            return request.response.body

    assert asyncio.run(run()) == b"a" * number
    assert turns > number / 100


async def nothing() -> None:
    pass


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


def test_https_is_read_with_the_certificates_that_libcurl_trusts(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificates / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    (image,), server = answers_of(lambda *_: response(IMAGE, NO_FIELD), "/a.jpg", tls=tls)
    assert (image.body, server.targets) == (IMAGE, ["/a.jpg"] * 2)
    found, server = asked(response(IMAGE), tls=tls, name="localhost")  # the certificate is for 127.0.0.1
    assert (found.status, server.targets) == (None, [])
    monkeypatch.delenv("SSL_CERT_FILE")
    found, server = asked(response(IMAGE), tls=tls)
    assert (found.status, server.targets) == (None, [])


def test_a_redirect_to_different_places_leads_nowhere() -> None:
    raw = response(b"", b"Location: /b.jpg", b"Location: /c.jpg", status=b"HTTP/1.1 302 Found")
    (image,), server = answers_of(lambda _target, _before: raw, "/a.jpg")
    assert (image.reason, server.targets) == (Reason.CORRUPT, ["/a.jpg"] * 2)
