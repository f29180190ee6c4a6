"""Streaming of records: each with its place and content, and all undamaged records of a damaged file."""

import gzip
import io
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from mmc4_pipeline.commoncrawl.archive import batches, records
from mmc4_pipeline.commoncrawl.warc_record import MAX_RECORD_BYTES, LostRecord, Record


@dataclass
class Planted:
    """A record as it was written: its place in the file and its content."""

    offset: int
    length: int
    url: str
    body: bytes


def archive_of(bodies: list[bytes], *, compressed: bool = True) -> tuple[bytes, list[Planted]]:
    """Write response records with warcio."""
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=compressed)
    planted = []
    for number, body in enumerate(bodies):
        start, url = out.tell(), f"https://a.example/{number}?é"
        http = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
        writer.write_record(writer.create_warc_record(url, "response", io.BytesIO(body), http_headers=http))
        planted.append(Planted(start, out.tell() - start, url, body))
    return out.getvalue(), planted


BODIES = [bytes((place * place * (number + 3)) % 251 for place in range(700 * number + 40)) for number in range(6)]
ARCHIVE, PLANTED = archive_of(BODIES)


class Pipe(io.RawIOBase):
    """A stream that cannot seek and returns few bytes at a time, like a socket."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, _size: int = -1) -> bytes:
        return self._stream.read(777)


def read(data: bytes) -> list[Record | LostRecord]:
    """Read the records, and check that they and the lost parts are the whole file, each byte once."""
    found = list(records(Pipe(data)))  # type: ignore[arg-type]
    place = 0
    for item in found:
        assert item.offset == place
        place += item.length
    assert place == len(data)
    return found


def check_untouched(data: bytes, planted: list[Planted], found: list[Record | LostRecord]) -> None:
    """Check that each record whose bytes are in the data is read as planted, and nothing else."""
    read = {item.offset: item for item in found if isinstance(item, Record)}
    for item in planted:
        got = read.pop(item.offset)
        assert (got.length, got.url, got.type) == (item.length, item.url, "response")
        assert got.http_response() == ("text/html", item.body)
    for got in read.values():  # the damage is in bytes of a gzip header that have no meaning
        assert any(got.http_response()[1] == item.body and got.url == item.url for item in PLANTED), data


@pytest.mark.parametrize("stream", [Pipe, io.BytesIO])
def test_each_record_has_its_place_and_content(stream: type) -> None:
    found = list(records(stream(ARCHIVE)))
    assert [(item.offset, item.length) for item in found] == [(item.offset, item.length) for item in PLANTED]
    check_untouched(ARCHIVE, PLANTED, found)


def test_records_of_any_size_are_whole() -> None:
    sizes = (0, 1, 4000, 70_000, 1 << 20, 5 << 20)
    data, planted = archive_of([random.Random(size).randbytes(size) for size in sizes])
    check_untouched(data, planted, read(data))


@given(st.integers(0, len(ARCHIVE) - 1), st.integers(1, 255))
def test_a_flipped_byte_loses_its_record_at_most(place: int, flip: int) -> None:
    data = bytearray(ARCHIVE)
    data[place] ^= flip
    untouched = [item for item in PLANTED if not item.offset <= place < item.offset + item.length]
    found = read(bytes(data))
    check_untouched(bytes(data), untouched, found)
    assert len(found) == len(PLANTED)
    assert sum(isinstance(item, LostRecord) for item in found) <= 1


@given(st.integers(0, len(ARCHIVE)), st.integers(0, len(ARCHIVE)), st.binary(max_size=300))
def test_a_replaced_part_loses_what_it_touches_at_most(first: int, second: int, other: bytes) -> None:
    start, end = sorted((first, second))
    data = ARCHIVE[:start] + other + ARCHIVE[end:]
    shift = len(other) - (end - start)
    before = [item for item in PLANTED if item.offset + item.length <= start]
    after = [Planted(item.offset + shift, item.length, item.url, item.body) for item in PLANTED if item.offset >= end]
    check_untouched(data, before + after, read(data))


@given(st.integers(0, len(ARCHIVE)))
def test_a_truncated_file_gives_the_records_before_its_end(size: int) -> None:
    data = ARCHIVE[:size]
    found = read(data)
    whole = [item for item in PLANTED if item.offset + item.length <= size]
    check_untouched(data, whole, found)
    lost = [item for item in found if isinstance(item, LostRecord)]
    assert len(found) == len(whole) + len(lost)
    in_the_middle = size not in {0, *(item.offset + item.length for item in PLANTED)}
    assert [item.why for item in lost] == (["the file ends before the record does"] if in_the_middle else [])


@pytest.mark.parametrize(
    "garbage", [b"\0" * 5000, b"\x1f\x8b", b"\x1f\x8b\x08" * 50, b"WARC/1.0\r\n", gzip.compress(b"x", mtime=0)]
)
def test_garbage_between_members_is_skipped(garbage: bytes) -> None:
    at = PLANTED[3].offset
    data = ARCHIVE[:at] + garbage + ARCHIVE[at:]
    found = read(data)
    moved = [Planted(item.offset + len(garbage), item.length, item.url, item.body) for item in PLANTED[3:]]
    check_untouched(data, PLANTED[:3] + moved, found)
    assert [item for item in found if isinstance(item, LostRecord)]


def with_length(length: bytes) -> bytes:
    """Return the third record's member with another Content-Length in its WARC header."""
    item = PLANTED[2]
    whole = gzip.decompress(ARCHIVE[item.offset : item.offset + item.length])
    head, end, rest = whole.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    return gzip.compress(b"\r\n".join([*lines, *([b"Content-Length: " + length] if length else [])]) + end + rest)


@pytest.mark.parametrize("length", [b"", b"0", b"7", b"-1", b"1e3", b"99999", b"9" * 40, b"\xff", b"\xc2\xb2"])
def test_a_wrong_length_loses_the_record(length: bytes) -> None:
    member = with_length(length)
    data = ARCHIVE[: PLANTED[2].offset] + member + ARCHIVE[PLANTED[3].offset :]
    found = read(data)
    shift = len(member) - PLANTED[2].length
    moved = [Planted(item.offset + shift, item.length, item.url, item.body) for item in PLANTED[3:]]
    check_untouched(data, PLANTED[:2] + moved, found)
    (lost,) = (item for item in found if isinstance(item, LostRecord))
    assert (lost.offset, lost.length) == (PLANTED[2].offset, len(member))
    assert "length" in lost.why


def test_several_records_in_one_member_have_the_members_place() -> None:
    inner = b"".join(gzip.decompress(ARCHIVE[item.offset : item.offset + item.length]) for item in PLANTED[:3])
    member = gzip.compress(inner)
    found = list(records(io.BytesIO(member + ARCHIVE[PLANTED[3].offset :])))
    assert [item.offset for item in found[:3]] == [0, 0, 0]
    assert [item.length for item in found[:3]] == [len(member)] * 3
    assert [item.http_response()[1] for item in found if isinstance(item, Record)] == BODIES


@pytest.mark.parametrize("size", [MAX_RECORD_BYTES, 3 * MAX_RECORD_BYTES])
def test_an_endless_record_is_given_up(size: int) -> None:
    bomb = gzip.compress(b"WARC/1.0\r\nContent-Length: %d\r\n\r\n" % size + bytes(size), 1)
    data = bomb + ARCHIVE
    found = read(data)
    assert found[0] == LostRecord(0, len(bomb), "the record is larger than 64 MiB")
    moved = [Planted(item.offset + len(bomb), item.length, item.url, item.body) for item in PLANTED]
    check_untouched(data, moved, found)


@pytest.mark.parametrize("content", [b"", b"no WARC header", b"WARC/1.0\r\nWARC-Type: response\r\n", bytes(100_000)])
def test_a_member_that_holds_no_record_is_lost(content: bytes) -> None:
    member = gzip.compress(content)
    found = read(member + ARCHIVE)
    assert found[0] == LostRecord(0, len(member), "it has no WARC header")
    assert len(found) == 1 + len(PLANTED)


def test_small_members_are_read_together_up_to_a_mebibyte() -> None:
    size = 100_000
    data, planted = archive_of([b"a" * size] * 40)
    found = list(batches(io.BytesIO(data)))
    assert [item.offset for batch in found for item in batch] == [item.offset for item in planted]
    assert 1 < max(map(len, found)) <= (1 << 20) // size + 1


def test_an_empty_file_has_no_records() -> None:
    assert read(b"") == []


def test_a_file_that_is_not_an_archive_is_lost_as_a_whole() -> None:
    data = b"<html>404 Not Found</html>" * 1000
    assert read(data) == [LostRecord(0, len(data), "it is not a gzip member")]


def test_an_uncompressed_file_is_read_too() -> None:
    data, planted = archive_of(BODIES, compressed=False)
    found = list(records(Pipe(data)))  # type: ignore[arg-type]
    assert [item.offset for item in found] == [item.offset for item in planted]
    assert [(item.url, item.http_response()) for item in found if isinstance(item, Record)] == [
        (item.url, ("text/html", item.body)) for item in planted
    ]


@pytest.mark.parametrize("number", [0, 3, 5])
def test_a_broken_header_in_an_uncompressed_file_loses_its_record(number: int) -> None:
    data, planted = archive_of(BODIES, compressed=False)
    start = data.index(b"Content-Length", planted[number].offset)
    broken = data[:start] + b"Content-Width" + data[start + len(b"Content-Width") :]
    found = [item for item in records(Pipe(broken)) if isinstance(item, Record)]  # type: ignore[arg-type]
    assert [item.url for item in found] == [item.url for item in planted if item is not planted[number]]


def test_an_truncated_uncompressed_file_gives_the_records_before_its_end() -> None:
    data, planted = archive_of(BODIES, compressed=False)
    *whole, last = records(Pipe(data[: planted[4].offset + 900]))  # type: ignore[arg-type]
    assert [item.offset for item in whole] == [item.offset for item in planted[:4]]
    assert last == LostRecord(planted[4].offset, 900, "the file ends before the record does")


ENDS = (b"\r\n\r\n", b"\r\n", b"\n", b"\n\n", b"\r\n\r\n\r\n\r\n", b"", b"\r\n\n", b"\n" * 70_000)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("members", ["none", "one each", "one for all"])
def test_records_may_end_in_any_number_of_lines(end: bytes, line_end: bytes, members: str) -> None:
    planted = []
    for number, body in enumerate(BODIES):
        url = f"https://a.example/{number}"
        fields = [b"WARC/1.0", b"WARC-Type: response", f"WARC-Target-URI: {url}".encode(), b"Content-Length: %d"]
        planted.append(line_end.join([*fields, b"", b""]) % len(body) + body + end)
    data = b"".join(gzip.compress(item) if members == "one each" else item for item in planted)
    found = list(records(Pipe(gzip.compress(data) if members == "one for all" else data)))  # type: ignore[arg-type]
    assert [(item.url, item.block) for item in found if isinstance(item, Record)] == [
        (f"https://a.example/{number}", body) for number, body in enumerate(BODIES)
    ]
    assert len(found) == len(BODIES)


PADDED = {
    "empty lines at the end": lambda members: b"".join(members) + b"\r\n" * 50_000,
    "empty lines first": lambda members: b"\r\n\r\n" + b"".join(members),
    "a byte order mark": lambda members: b"\xef\xbb\xbf" + b"".join(members),
    "white space": lambda members: b" \r\n\t\n".join(members) + b"\n",
}


@pytest.mark.parametrize("padded", PADDED.values(), ids=PADDED)
@pytest.mark.parametrize("compressed", [True, False])
def test_padding_is_no_record(padded: Callable[[list[bytes]], bytes], *, compressed: bool) -> None:
    archive, planted = archive_of(BODIES, compressed=compressed)
    data = padded([archive[item.offset : item.offset + item.length] for item in planted])
    found = list(records(Pipe(data)))  # type: ignore[arg-type]
    assert [item.http_response()[1] for item in found if isinstance(item, Record)] == BODIES
    assert len(found) == len(BODIES)
    for item in found:
        start = data[item.offset : item.offset + item.length]
        assert (gzip.decompress(start) if compressed else start).startswith(b"WARC/1.0\r\n")
