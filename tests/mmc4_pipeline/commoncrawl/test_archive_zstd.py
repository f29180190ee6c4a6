"""WARC files of zstd frames, with and without a dictionary: each record with its place, and no loss beyond damage."""

import io
from collections.abc import Callable

import pytest
import zstandard

from mmc4_pipeline.commoncrawl.archive import records
from mmc4_pipeline.commoncrawl.warc_record import MAX_RECORD_BYTES, LostRecord, Record

TEXTS = [b"".join(b"<p>Number %d of %d.</p>" % (n * 7919 % 997, k) for n in range(60 * k + 1)) for k in range(12)]
DICTIONARY = zstandard.train_dictionary(2048, [text[start : start + 400] for text in TEXTS for start in range(9)])


def record(number: int) -> bytes:
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + TEXTS[number]
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://a.example/{number}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(block) + block + b"\r\n\r\n"


def skippable(content: bytes, magic: int = 0x184D2A5D) -> bytes:
    return magic.to_bytes(4, "little") + len(content).to_bytes(4, "little") + content


def streamed(data: bytes) -> bytes:
    """Compress without the content's size in the header, as programs do that write a stream."""
    out = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return out.compress(data) + out.flush()


def compressed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(dict_data=DICTIONARY, write_checksum=True).compress(data)


PLAIN = [zstandard.ZstdCompressor(write_checksum=True).compress(record(number)) for number in range(12)]
FILES: dict[str, list[bytes]] = {
    "no dictionary": PLAIN,
    "without checksums and sizes": [streamed(record(number)) for number in range(12)],
    "a dictionary": [skippable(DICTIONARY.as_bytes()), *map(compressed, map(record, range(12)))],
    "a compressed dictionary": [
        skippable(zstandard.compress(DICTIONARY.as_bytes())),
        *map(compressed, map(record, range(12))),
    ],
    "an unused dictionary": [skippable(DICTIONARY.as_bytes()), *PLAIN],
    "other skippable frames": [
        *PLAIN[:3],
        skippable(b"x" * 70_000, 0x184D2A50),
        *PLAIN[3:],
        skippable(b"", 0x184D2A5F),
    ],
    "an empty frame": [*PLAIN[:3], zstandard.compress(b""), *PLAIN[3:]],
}


class Pipe(io.RawIOBase):
    """A stream that returns few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, _size: int = -1) -> bytes:
        return self._stream.read(777)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("stream", [Pipe, io.BytesIO])
def test_each_record_has_its_place_and_content(name: str, stream: Callable[[bytes], io.BytesIO]) -> None:
    frames = FILES[name]
    found = [item for item in records(stream(b"".join(frames))) if isinstance(item, Record)]
    assert [item.http_response() for item in found] == [("text/html", text) for text in TEXTS]
    places = [(sum(map(len, frames[:number])), len(frame)) for number, frame in enumerate(frames)]
    assert [(item.offset, item.length) for item in found] == [
        places[number]
        for number, frame in enumerate(frames)
        if frame.startswith(b"\x28\xb5\x2f\xfd") and len(frame) > 20
    ]


def read_numbers(data: bytes) -> tuple[list[int], list[LostRecord]]:
    found = list(records(io.BytesIO(data)))
    intact = [item for item in found if isinstance(item, Record)]
    for item in intact:
        assert item.http_response()[1] in TEXTS
    return [int(item.url.rpartition("/")[2]) for item in intact], [
        item for item in found if isinstance(item, LostRecord)
    ]


@pytest.mark.parametrize("name", ["no dictionary", "a compressed dictionary"])
def test_damage_costs_the_damaged_records_only(name: str) -> None:
    frames = FILES[name]
    extra = len(frames) - 12
    whole = b"".join(frames)
    start = sum(map(len, frames[: 5 + extra]))
    for place in range(start, start + len(frames[5 + extra]), 7):
        data = bytearray(whole)
        data[place] ^= 0x55
        numbers, lost = read_numbers(bytes(data))
        assert [number for number in numbers if number != 5] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
        assert len(lost) + (5 in numbers) == 1


@pytest.mark.parametrize("garbage", [b"\0" * 5000, b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd" * 50, b"WARC/1.0\r\n"])
def test_garbage_between_frames_is_skipped(garbage: bytes) -> None:
    numbers, lost = read_numbers(b"".join([*PLAIN[:3], garbage, *PLAIN[3:]]))
    assert (numbers, len(lost)) == (list(range(12)), 1)


def test_a_truncated_file_gives_the_records_before_its_end() -> None:
    numbers, (lost,) = read_numbers(b"".join(PLAIN)[:-3])
    assert numbers == list(range(11))
    assert lost.length == len(PLAIN[11]) - 3


@pytest.mark.parametrize("compress", [zstandard.compress, streamed])
def test_an_endless_record_is_given_up(compress: Callable[[bytes], bytes]) -> None:
    bomb = compress(b"WARC/1.0\r\nContent-Length: 99999999\r\n\r\n" + bytes(MAX_RECORD_BYTES))
    numbers, (lost,) = read_numbers(bomb + b"".join(PLAIN))
    assert numbers == list(range(12))
    assert (lost.offset, lost.length) == (0, len(bomb))


def test_records_without_their_dictionary_are_lost_one_by_one() -> None:
    frames = FILES["a dictionary"][1:]
    numbers, lost = read_numbers(b"".join(frames))
    assert numbers == []
    assert sum(item.length for item in lost) == sum(map(len, frames))
