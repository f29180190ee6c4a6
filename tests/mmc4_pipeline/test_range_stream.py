"""Streams of ranges: the same bytes as the file, however it is read, and few bytes that nobody wanted."""

import io
import json

import fsspec
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.documents.reading import read_references
from mmc4_pipeline.storage.range_stream import RangeStream
from tests.mmc4_pipeline.file_server import INPUTS

CONTENT = bytes(range(251)) * 1200  # about 300 kB
STEPS = st.lists(
    st.tuples(st.just("read"), st.integers(0, 200_000))
    | st.tuples(st.just("seek"), st.integers(0, 310_000))
    | st.tuples(st.just("end"), st.integers(-310_000, 10)),
    max_size=12,
)


@given(STEPS)
def test_a_stream_of_ranges_reads_like_the_file(steps: list[tuple[str, int]]) -> None:
    stream = io.BufferedReader(RangeStream(lambda start, length: CONTENT[start : start + length], lambda: len(CONTENT)))
    file = io.BytesIO(CONTENT)
    for kind, number in steps:
        if kind == "read":
            assert stream.read(number) == file.read(number)
        elif kind == "seek":
            assert stream.seek(number) == file.seek(number)
        else:
            assert stream.seek(number, io.SEEK_END) == file.seek(number, io.SEEK_END)
    assert stream.read() == file.read()


@given(st.integers(1, 30 << 20))
def test_little_more_is_requested_than_is_read_and_in_few_ranges(wanted: int) -> None:
    ranges: list[tuple[int, int]] = []

    def read(start: int, length: int) -> bytes:
        ranges.append((start, start + length))
        return bytes(length)

    stream = RangeStream(read, lambda: 1 << 40)
    remaining = wanted
    while remaining:
        remaining -= stream.readinto(bytearray(min(remaining, 1 << 17)))
    assert [end for _, end in ranges[:-1]] == [start for start, _ in ranges[1:]]
    assert ranges[-1][1] <= 2 * wanted + (256 << 10)
    assert len(ranges) <= 12


def test_documents_are_read_from_any_file_system_of_fsspec() -> None:
    row = {"text": "t", "url": "https://a.example/", "timestamp": "2019-04-25T12:57:54Z"}
    fsspec.filesystem("memory").pipe("/c4/a.json", json.dumps(row).encode() + b"\n" + b"no JSON\n" * 100_000)
    (path,) = INPUTS.matches("memory://c4/*.json")
    assert [number for number, _ in read_references(INPUTS, path, first=3)] == [1, 2, 3]
    assert len(list(read_references(INPUTS, path))) == 100_001
