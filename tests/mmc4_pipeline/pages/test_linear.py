"""Crafted pages, heads and records: what their parsers need grows with their length, not with its square."""

import gzip
from collections.abc import Callable
from contextlib import suppress

import pytest

from mmc4_pipeline.commoncrawl.http_head import http_head
from mmc4_pipeline.commoncrawl.payload import decoded_body
from mmc4_pipeline.pages.c4_lines import c4_lines
from mmc4_pipeline.pages.html import decode_html
from mmc4_pipeline.pages.letters import letters
from mmc4_pipeline.pages.main_text import UnreadablePageError, main_text
from mmc4_pipeline.pages.places import places_of
from mmc4_pipeline.pages.sentences import sentences_of
from mmc4_pipeline.pages.tree import parse_html
from mmc4_pipeline.pages.wat_links import WatImage, WatImages, links_of_wat
from mmc4_pipeline.recipe import LinkSettings
from tests.linear import assert_memory_is_linear
from tests.pages import links_of_html

URL = "https://a.example/b/c.html"
SETS = LinkSettings(attributes=("srcset",))


def head(lines: bytes) -> Callable[[int], object]:
    def read(count: int) -> object:
        data = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + lines * count + b"\r\n\r\n"
        with suppress(ValueError):
            return http_head(data, 0, len(data))
        return None

    return read


def body(repeated: bytes, coding: str) -> Callable[[int], object]:
    def read(count: int) -> object:
        with suppress(ValueError):
            return decoded_body(repeated * count, (coding,))
        return None

    return read


def links(repeated: str) -> Callable[[int], object]:
    return lambda count: links_of_html("<base href=/x/y/z/>" + repeated * count, URL)


def text(repeated: str) -> Callable[[int], object]:
    def read(count: int) -> object:
        with suppress(UnreadablePageError):
            return main_text("<p>Some text of a page.</p>" + repeated * count, URL)
        return None

    return read


PARSERS: dict[str, Callable[[int], object]] = {
    "fields": head(b"X-A: b\r\n"),
    "fields without a name": head(b":\r\n"),
    "folds": head(b" a\r\n"),
    "carriage returns": head(b"\r"),
    "types": head(b"Content-Type: text/html; charset=x,\r\n"),
    "codings": head(b"Content-Encoding: gzip,gzip\r\n"),
    "chunks": body(b"1\r\na\r\n", "chunked"),
    "chunks without data": body(b"0\r\n", "chunked"),
    "sizes": body(b"1", "chunked"),
    "members": body(gzip.compress(b"a"), "gzip"),
    "frames": body(b"\x28\xb5\x2f\xfd\x20\x01\x09\x00\x00a", "zstd"),
    "blocks": lambda count: body(b"\x28\xb5\x2f\xfd\x00\x58" + b"\0\0\0" * count, "zstd")(1),
    "spaces in a type": lambda count: decode_html(b"x", "charset=" + " " * count + ";"),
    "metas": lambda count: decode_html(b"<meta charset=x " * count, ""),
    "images": links("<img src=a.jpg>"),
    "pictures": links("<picture><source srcset='a.jpg 1x'><img src=b.jpg>"),
    "bases": links("<base href=../a/>"),
    "candidates": lambda count: links_of_html("<img srcset='" + "a.jpg 1x," * count + "'>", URL, SETS),
    "images in noscript": links("<noscript><img src=a.jpg>"),
    "dots": lambda count: links_of_html("<img src='" + "../" * count + "a.jpg'>", URL, SETS),
    "tag names": lambda count: parse_html("<a" * count),
    "quotes": links("<a b=c'"),
    "comments": links("<!--"),
    "references": lambda count: links_of_wat(WatImages([WatImage("", "a", "&#65;&" * count)]), URL),
    "zeros": lambda count: links_of_wat(WatImages([WatImage("", "a", "&#" + "0" * count)]), URL),
    "ampersands": lambda count: links_of_wat(WatImages([WatImage("", "a", "&a" * count + ";")]), URL),
    "wat images": lambda count: links_of_wat(WatImages([WatImage("", "a")] * count, "/x/y/"), URL),
    "text of tag names": text("<a"),
    "text of quotes": text("<a b='<c d=\""),
    "text of spaces": text(" \t"),
    "text of references": text("&#x41;"),
    "marks": lambda count: c4_lines("[" * count + "]" * count),
    "lines": lambda count: c4_lines("a.\n" * count),
    "repeated sentences": lambda count: places_of([["It is a sentence."]] * (count // 4), "itisasentence" * count, 0),
    "unknown sentences": lambda count: places_of([["It is a sentence."]] * (count // 4), "itisasentenc" * count, 0),
    "unknown short sentences": lambda count: places_of([["Aa."] * count], "a" * count, 0),
    "images between letters": lambda count: places_of([["A sentence."]], "asentence" + " a" * count, count),
    "combining marks": lambda count: letters("\u0301\u0323" * count),
    "citations": lambda count: letters("[" * count + "1]" * count),
    "figures": links("<figure><img src=a.jpg><figcaption>a"),
    "abbreviations": lambda count: sentences_of("Dr. " * count),
}


@pytest.mark.parametrize("name", PARSERS)
def test_memory_is_linear(name: str) -> None:
    assert_memory_is_linear(PARSERS[name])
