"""Mutated records and pages, always the same ones: each is a page or a counted drop, and memory stays bounded."""

import gzip
import io
import random
import resource
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import brotli
import orjson
import pytest
import zstandard

from mmc4_pipeline.commoncrawl.archive import records
from mmc4_pipeline.commoncrawl.warc_record import LostRecord, Record
from mmc4_pipeline.commoncrawl.wat_json import container_offset, html_images
from mmc4_pipeline.pages.c4_lines import c4_lines
from mmc4_pipeline.pages.content import PageContent
from mmc4_pipeline.pages.page_outcome import pack
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.pages.sentences import sentences_of
from mmc4_pipeline.pages.wat_links import links_of_wat
from mmc4_pipeline.recipe import load_recipe
from schemas.capture import Location
from schemas.document import RejectedDocument
from schemas.page import OutcomeKind

MOMENT = datetime(2019, 4, 25, 12, 57, 54, tzinfo=UTC)
LOCATION = Location("k", "https://a.example/b.html", MOMENT, "a.example", "c4:1", MOMENT, "a.warc.gz", 0, 9, False)
READER = PageReader(load_recipe("mmc4-links").links, "page")
MEMORY = 300 << 20  # beyond what the process had before
PAGE = b"""<!doctype html><html><head><meta charset=utf-8><title>Mill</title><base href="/mill/"></head><body>
<nav><a href="/">Home</a></nav><main><h1>The mill</h1><p>The old mill stands by the river, and its wheel turns [1].</p>
<table><tr><td>Opening times are from nine to five every day.<td><img src=a.jpg width="12px" alt="caf&eacute; &#233;">
</table><picture><source srcset="b.webp 1x, c.webp 2x" type="image/webp"><img src=b.jpg data-src="c.jpg"></picture>
<noscript><img src=d.jpg></noscript>
<a href="//b.example/"><img srcset="e.jpg 100w, f.jpg 200w"></a></main></body></html>"""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n%b\r\n"
# What a mutation inserts: bytes that mean something to one of the formats.
TOKENS = [
    *(b"< > ' \" <!-- <table> <img </ &#99999999999; { [ ] : // \\ http://[ <svg><title> \\ud800 9999999999".split()),
    *(b"gzip br chunked WARC/1.0".split()),
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r\n", b"\n\n", b"\nContent-Encoding: ", b"9" * 5000),
    *(b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x5d\x2a\x4d\x18"),
]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return the data with a few parts flipped, removed, repeated or inserted."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        start = chance.randrange(len(changed) + 1)
        end = min(len(changed), start + chance.choice((1, 1, 4, 30)))
        kind = chance.randrange(4)
        if kind == 0 and start < len(changed):
            changed[start] ^= chance.randrange(1, 256)
        elif kind == 1:
            del changed[start:end]
        elif kind == 2:
            changed[start:end] = changed[start:end] * chance.choice((2, 50))
        else:
            changed[start:start] = chance.choice(TOKENS)
    return bytes(changed)


def record(block: bytes, kind: bytes = b"response") -> bytes:
    fields = (b"WARC/1.0", b"WARC-Type: " + kind, b"WARC-Target-URI: https://a.example/b.html")
    date = b"WARC-Date: 2019-04-25T12:57:54Z"
    return b"\r\n".join((*fields, date, b"Content-Length: %d" % len(block), b"", b"")) + block + b"\r\n\r\n"


def chunked(body: bytes) -> bytes:
    return b"".join(
        b"%x\r\n%b\r\n" % (len(body[at : at + 200]), body[at : at + 200]) for at in range(0, len(body), 200)
    )


@contextmanager
def bounded_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY >> 10


def check_record(record: Record) -> None:
    """Read everything of a record that the stage reads."""
    _ = (record.url, record.type, record.date, record.payload_type, record.http_status)
    with suppress(ValueError):
        record.http_response()


def check_page(body: bytes, content_type: str) -> None:
    """Read a page as the stage does and pack what it becomes."""
    found = READER.read(LOCATION, content_type, body)
    if isinstance(found, PageContent):
        sentences_of(c4_lines(found.text or "").text)
        pack(b"", OutcomeKind.CONTENT, found)
    else:
        assert isinstance(found, RejectedDocument)


BODIES = {
    "gzip": gzip.compress(PAGE, mtime=0),
    "deflate": zlib.compress(PAGE),
    "br": brotli.compress(PAGE),
    "zstd": zstandard.compress(PAGE),
    "identity": PAGE,
}


def blocks() -> Iterator[bytes]:
    for coding, body in BODIES.items():
        yield HEAD % f"Content-Encoding: {coding}\r\n".encode() + body
        yield (
            HEAD % f"Content-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n".encode()
            + chunked(body)
            + b"0\r\n\r\n"
        )


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress])
def test_mutated_records_are_records_or_lost(compress: Callable[[bytes], bytes]) -> None:
    chance = random.Random(7)
    plain, good = list(blocks()), compress(record(PAGE))
    with bounded_memory():
        for number in range(170):
            block, inside = plain[number % len(plain)], number % 3
            data = compress(record(mutated(block, chance) if inside == 0 else block))
            data = compress(mutated(record(block), chance)) if inside == 1 else data
            found = list(records(io.BytesIO(good + (mutated(data, chance) if inside == 2 else data) + good)))
            assert isinstance(found[0], Record)
            assert all(isinstance(item, LostRecord | Record) for item in found)
            for item in found:
                if isinstance(item, Record):
                    check_record(item)


def test_mutated_pages_are_pages_or_drops() -> None:
    chance = random.Random(8)
    types = ("text/html", "", "text/html; charset=koi8-r", "text/html; charset=utf-16")
    with bounded_memory():
        for number in range(500):
            check_page(mutated(PAGE, chance), types[number % 4])


def test_mutated_wat_records_are_links_or_drops() -> None:
    chance = random.Random(9)
    image = {"path": "IMG@/src", "url": "../a.jpg", "alt": "&#233; b", "width": "12px"}
    html = {"Head": {"Base": "/mill/", "Title": "t"}, "Links": [image, {"path": "A@/href", "url": "/"}, image]}
    payload = {"HTTP-Response-Metadata": {"HTML-Metadata": html}}
    block = orjson.dumps({"Container": {"Offset": "12"}, "Envelope": {"Payload-Metadata": payload}})
    with bounded_memory():
        for _ in range(500):
            data = mutated(block, chance)
            with suppress(ValueError):
                container_offset(data, 0)
                found = html_images(data, 0)
                assert found is None or isinstance(links_of_wat(found, LOCATION.url), list)
