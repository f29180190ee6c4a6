"""Response records as crawlers and archives write them: coded or not, and under whatever header."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import brotli
import pytest
import zstandard

from mmc4_pipeline.commoncrawl import payload
from mmc4_pipeline.commoncrawl.by_range import pages_by_range
from mmc4_pipeline.commoncrawl.by_scan import pages_by_scan
from mmc4_pipeline.commoncrawl.from_warcs import documents_of_warc
from mmc4_pipeline.naming import document_key
from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.recipe import LinkSettings
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.reasons import Reason
from schemas.statistics import Counts
from tests.mmc4_pipeline.commoncrawl.conftest import MOMENT
from tests.mmc4_pipeline.file_server import INPUTS

URL = "https://a.example/page"
FILLER = b"<p>Some text here.</p>\r\n\r\n" * 60
PAGE = b"<!doctype html><html><body><img src=a.jpg>" + FILLER + b"<img src=b.jpg></body></html>"
TEXT = b"Some plain text, which is not HTML. " * 20
READER = PageReader(LinkSettings())
Outcome = PageContent | RejectedDocument


def response(body: bytes, *fields: str, content_type: str = "Content-Type: text/html") -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", content_type, *fields, "", ""]).encode() + body


def chunked(body: bytes, *, extension: bytes = b"", end: bytes = b"0\r\n\r\n", line_end: bytes = b"\r\n") -> bytes:
    pieces = [body[start : start + 100] for start in range(0, len(body), 100)]
    return b"".join(b"%x%b%b%b%b" % (len(part), extension, line_end, part, line_end) for part in pieces) + end


def raw_deflate(body: bytes) -> bytes:
    return zlib.compress(body)[2:-4]


def zstd_in_frames(body: bytes) -> bytes:
    return zstandard.compress(body[:500]) + zstandard.compress(body[500:])


def write(folder: Path, block: bytes) -> Location:
    fields = [
        "WARC/1.0",
        "WARC-Type: response",
        f"WARC-Target-URI: {URL}",
        f"WARC-Date: {MOMENT:%Y-%m-%dT%H:%M:%SZ}",
        f"Content-Length: {len(block)}",
    ]
    member = gzip.compress("\r\n".join([*fields, "", ""]).encode() + block + b"\r\n\r\n", 1)
    Path(folder, "a.warc.gz").write_bytes(member)
    key = document_key(URL, MOMENT)
    return Location(key, URL, MOMENT, "a.example", "c4:1", MOMENT, "a.warc.gz", 0, len(member), False)


def by_warcs(folder: Path, _: Location) -> Iterator[Outcome]:
    return documents_of_warc(INPUTS, str(folder / "a.warc.gz"), READER, Counts())


def by_range(folder: Path, location: Location) -> Iterator[Outcome]:
    return pages_by_range(INPUTS, str(folder), location.warc_filename, [location], READER)


def by_scan(folder: Path, location: Location) -> Iterator[Outcome]:
    return pages_by_scan(INPUTS, str(folder), location.warc_filename, [location], READER)


def outcome(folder: Path, block: bytes) -> Outcome:
    """Read the record in the three ways, which must agree, and return what they make of it."""
    location = write(folder, block)
    results = []
    for read in (by_warcs, by_range, by_scan):
        (found,) = read(folder, location)
        results.append([link.url for link in found.links] if isinstance(found, PageContent) else found.reason)
    assert results[0] == results[1] == results[2]
    return found


READABLE: dict[str, bytes] = {
    # The body was stored decoded, and the header was left.
    "gzip left": response(PAGE, "Content-Encoding: gzip"),
    "deflate left": response(PAGE, "Content-Encoding: deflate"),
    "br left": response(PAGE, "Content-Encoding: br"),
    "zstd left": response(PAGE, "Content-Encoding: zstd"),
    "compress left": response(PAGE, "Content-Encoding: compress"),
    "chunked left": response(PAGE, "Transfer-Encoding: chunked"),
    "both left": response(PAGE, "Transfer-Encoding: chunked", "Content-Encoding: gzip"),
    "two left": response(PAGE, "Content-Encoding: gzip, br"),
    "one of two left": response(gzip.compress(PAGE), "Content-Encoding: gzip", "Content-Encoding: gzip"),
    "chunked left, still gzip": response(gzip.compress(PAGE), "Transfer-Encoding: chunked", "Content-Encoding: gzip"),
    "gzip left, still chunked": response(chunked(PAGE), "Transfer-Encoding: chunked", "Content-Encoding: gzip"),
    "left with a byte order mark": response(b"\xef\xbb\xbf" + PAGE, "Content-Encoding: deflate"),
    "left in UTF-16": response(PAGE.decode().encode("utf-16"), "Content-Encoding: br"),
    "left after spaces": response(b"\n \t" * 50 + PAGE, "Content-Encoding: br"),
    # Codings and their names.
    "gzip": response(gzip.compress(PAGE), "Content-Encoding: gzip"),
    "x-gzip": response(gzip.compress(PAGE), "content-encoding:X-GZip"),
    "deflate": response(zlib.compress(PAGE), "Content-Encoding: deflate"),
    "raw deflate": response(raw_deflate(PAGE), "Content-Encoding: deflate"),
    "br": response(brotli.compress(PAGE), "Content-Encoding: br"),
    "zstd": response(zstandard.compress(PAGE), "Content-Encoding: zstd"),
    "zstd in two frames": response(zstd_in_frames(PAGE), "Content-Encoding: zstd"),
    "gzip in two members": response(gzip.compress(PAGE[:99]) + gzip.compress(PAGE[99:]), "Content-Encoding: gzip"),
    "gzip twice": response(gzip.compress(gzip.compress(PAGE)), "Content-Encoding: gzip, gzip"),
    "gzip twice, said once": response(gzip.compress(gzip.compress(PAGE)), "Content-Encoding: gzip"),
    "br of gzip": response(brotli.compress(gzip.compress(PAGE)), "Content-Encoding: gzip", "Content-Encoding: br"),
    "gzip as a transfer coding": response(chunked(gzip.compress(PAGE)), "Transfer-Encoding: gzip, chunked"),
    "chunked and br": response(chunked(brotli.compress(PAGE)), "Transfer-Encoding: chunked", "Content-Encoding: br"),
    "gzip named br": response(gzip.compress(PAGE), "Content-Encoding: br"),
    "gzip without a header": response(gzip.compress(PAGE)),
    "br named gzip": response(brotli.compress(PAGE), "Content-Encoding: gzip"),
    "br named deflate": response(brotli.compress(PAGE), "Content-Encoding: deflate"),
    "brotli": response(brotli.compress(PAGE), "Content-Encoding: brotli"),
    "br with a parameter": response(brotli.compress(PAGE), "Content-Encoding: br;q=1.0"),
    "br in quotes": response(brotli.compress(PAGE), 'Content-Encoding: "br"'),
    "x-deflate": response(zlib.compress(PAGE), "Content-Encoding: x-deflate"),
    "deflate named gzip": response(zlib.compress(PAGE), "Content-Encoding: gzip"),
    "raw deflate named gzip": response(raw_deflate(PAGE), "Content-Encoding: gzip"),
    "zstd named br": response(zstandard.compress(PAGE), "Content-Encoding: br"),
    "zstd after a frame to skip": response(
        b"\x50\x2a\x4d\x18\4\0\0\0skip" + zstandard.compress(PAGE), "Content-Encoding: zstd"
    ),
    "gzip with a wrong checksum": response(gzip.compress(PAGE)[:-8] + bytes(8), "Content-Encoding: gzip"),
    "none": response(PAGE, "Content-Encoding: none"),
    "identity": response(PAGE, "Content-Encoding: identity", "Transfer-Encoding: identity"),
    "a charset": response(PAGE, "Content-Encoding: UTF-8"),
    "a charset, binary bytes": response(b"\0\1\2" + PAGE, "Content-Encoding: ISO-8859-1"),
    "nonsense": response(PAGE, "Content-Encoding: amz-1.0"),
    "empty": response(PAGE, "Content-Encoding: , ,"),
    # What follows the end, and what is missing at the end.
    "bytes after gzip": response(gzip.compress(PAGE) + b"\0\0xx", "Content-Encoding: gzip"),
    "bytes after deflate": response(zlib.compress(PAGE) + b"\r\n", "Content-Encoding: deflate"),
    "bytes after br": response(brotli.compress(PAGE) + b"\r\n", "Content-Encoding: br"),
    "bytes after zstd": response(zstandard.compress(PAGE) + b"\0junk", "Content-Encoding: zstd"),
    "gzip without its trailer": response(gzip.compress(PAGE)[:-8], "Content-Encoding: gzip"),
    "br without its end": response(brotli.compress(PAGE + TEXT)[:-2], "Content-Encoding: br"),
    # Chunks (RFC 9112, section 7.1).
    "chunk extensions": response(chunked(PAGE, extension=b' ; a="b;c";d'), "Transfer-Encoding: chunked"),
    "spaces after the size": response(chunked(PAGE, extension=b"   "), "Transfer-Encoding: chunked"),
    "trailer fields": response(chunked(PAGE, end=b"0\r\nExpires: 0\r\n\r\n"), "Transfer-Encoding: chunked"),
    "no last chunk": response(chunked(PAGE, end=b""), "Transfer-Encoding: chunked"),
    "a chunk cut off": response(chunked(PAGE + TEXT)[:-60], "Transfer-Encoding: Chunked"),
    "cut off in a line end": response(chunked(PAGE, end=b"")[:-1], "Transfer-Encoding: chunked"),
    "cut off in a size": response(chunked(PAGE, end=b"10"), "Transfer-Encoding: chunked"),
    "chunks that end in LF": response(chunked(PAGE, line_end=b"\n"), "Transfer-Encoding: chunked"),
    # Heads (RFC 9112, section 2.2 and 5).
    "LF throughout": b"HTTP/1.1 200 OK\nContent-Type: text/html\n\n" + PAGE,
    "CRLF, end LF": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\n" + PAGE,
    "CRLF, end LF LF": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\n\n" + PAGE,
    "LF, end CRLF": b"HTTP/1.1 200 OK\nContent-Type: text/html\n\r\n" + PAGE,
    "LF with a coding": b"HTTP/1.1 200 OK\nContent-Encoding: br\nContent-Type: text/html\n\n" + brotli.compress(PAGE),
    "CR CR LF": response(PAGE).replace(b"\r\n", b"\r\r\n", 3),
    "CR CR LF with a coding": response(gzip.compress(PAGE), "Content-Encoding: gzip").replace(b"\r\n", b"\r\r\n", 4),
    "CR CR LF at the end": response(PAGE).replace(b"\r\n\r\n", b"\r\n\r\r\n", 1),
    "empty lines first": b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE,
    "no reason phrase": b"HTTP/1.1 200\r\nContent-Type: text/html\r\n\r\n" + PAGE,
    "HTTP/2": b"HTTP/2 200\r\ncontent-type: text/html\r\n\r\n" + PAGE,
    "space before the colon": response(PAGE, content_type="Content-Type : text/html"),
    "spaces before a coding's colon": response(gzip.compress(PAGE), "Content-Encoding \t: gzip"),
    "folded": response(PAGE, content_type="Content-Type:\r\n text/html;\r\n\tcharset=utf-8"),
    "a folded coding": response(gzip.compress(PAGE), "Content-Encoding:\r\n gzip"),
    "a line that is not a field": response(PAGE, "this is not a field"),
    "a bare CR": response(PAGE, "X-Odd: a\rb", "Content-Encoding: identity"),
    "two types, the last is HTML": response(PAGE, "Content-Type: text/html", content_type="Content-Type: text/css"),
    "two types, the last is empty": response(PAGE, "Content-Type:"),
    "two types, the last is not valid": response(PAGE, "Content-Type: html5"),
    "two types, the last is any": response(PAGE, "Content-Type: */*"),
}  # fmt: skip


@pytest.mark.parametrize("name", READABLE)
def test_every_route_reads_the_page(tmp_path: Path, name: str) -> None:
    found = outcome(tmp_path, READABLE[name])
    assert isinstance(found, PageContent), found
    assert [link.url for link in found.links] == ["https://a.example/a.jpg", "https://a.example/b.jpg"]


def damaged(body: bytes) -> bytes:
    """Return coded data with its middle replaced; it is not text."""
    return body[: len(body) // 2] + b"\xff" * 20 + body[len(body) // 2 + 20 :]


UNREADABLE: dict[str, bytes] = {
    "damaged gzip": response(damaged(gzip.compress(PAGE)), "Content-Encoding: gzip"),
    "damaged br": response(damaged(brotli.compress(PAGE)), "Content-Encoding: br"),
    "damaged zstd": response(zstandard.compress(PAGE)[:9] + b"\xff" * 20, "Content-Encoding: zstd"),
    "a coding that nobody knows": response(b"\x1f\x9d\x90" + PAGE, "Content-Encoding: compress"),
    "binary data named br": response(bytes(range(256)), "Content-Encoding: br"),
    "a chunk longer than its size": response(chunked(PAGE, end=b"5\r\n") + PAGE, "Transfer-Encoding: chunked"),
    "a chunk without a size": response(chunked(PAGE, end=b"size\r\n") + PAGE, "Transfer-Encoding: chunked"),
    "too many codings": response(PAGE, "Content-Encoding: " + ",".join(["gzip"] * 9)),
    "a head without an end": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_decoded_is_one_rejected_document(tmp_path: Path, name: str) -> None:
    found = outcome(tmp_path, UNREADABLE[name])
    assert isinstance(found, RejectedDocument)
    assert found.reason == Reason.PAGE_UNREADABLE
    assert found.detail


def zeros(compress: Callable[[bytes], bytes]) -> bytes:
    return compress(bytes(payload.MAX_BODY_BYTES + 1))


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(zeros(lambda data: gzip.compress(data, 1)), 1)),
        ("deflate", zeros(lambda data: zlib.compress(data, 1))),
        ("br", zeros(lambda data: brotli.compress(data, quality=1))),
        ("zstd", zeros(zstandard.compress)),
    ],
)
def test_a_bomb_is_one_rejected_document(tmp_path: Path, coding: str, body: bytes) -> None:
    found = outcome(tmp_path, response(body, f"Content-Encoding: {coding}"))
    assert isinstance(found, RejectedDocument)
    assert (found.reason, "larger than" in found.detail) == (Reason.PAGE_UNREADABLE, True)


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip", "zstd", "chunked", "compress"])
def test_text_is_never_taken_for_coded_data(coding: str) -> None:
    for text in (TEXT, b"add more\n" + TEXT, b"Have a look. " * 40, b"seen", b"H", b""):
        assert payload.decoded_body(text, (coding,)) == text


def test_the_last_type_keeps_the_charset_of_the_same_type(tmp_path: Path) -> None:
    body = "<img src=a.jpg alt='\u0436'>".encode("koi8-r")
    fields = ("Content-Type: text/html; charset=koi8-r", "Content-Type: text/html")
    found = outcome(tmp_path, response(body, fields[1], content_type=fields[0]))
    assert isinstance(found, PageContent)
    assert found.links[0].alt == "\u0436"
