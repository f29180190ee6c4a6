"""Several scorers share the pictures of a shard: each is read and decoded once, and none holds up the others."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmc4_pipeline.scoring import sharing
from mmc4_pipeline.scoring.picture import Picture
from mmc4_pipeline.scoring.sharing import SharedPictures


class Source:
    """Pictures whose bytes are their numbers. Counts how many have been read and how often each was decoded."""

    def __init__(self, number: int, fails_at: int | None = None) -> None:
        self.number, self.fails_at, self.read = number, fails_at, 0
        self.decoded: list[int] = []

    def __iter__(self) -> Iterator[Picture]:
        for number in range(self.number):
            if number == self.fails_at:
                raise OSError("the tar ends here")
            self.read += 1
            yield Picture(str(number).encode())

    def decode(self, data: bytes) -> int:
        self.decoded.append(int(data))
        return int(data)


def test_every_reader_sees_every_picture_in_order_and_each_is_decoded_once() -> None:
    source = Source(1000)
    shared = SharedPictures(iter(source), 3)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda reader: [item.decoded(source.decode) for item in shared.read(reader)], range(3)))
    assert found == [list(range(1000))] * 3
    assert sorted(source.decoded) == list(range(1000))


def test_a_reader_is_never_far_ahead_of_another_that_still_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "AHEAD", 5)
    source = Source(20)
    shared = SharedPictures(iter(source), 2)
    fast, slow = shared.read(0), shared.read(1)
    for _ in range(5):
        next(fast)
    with ThreadPoolExecutor(1) as pool:
        sixth = pool.submit(next, fast)  # waits for the slow one
        next(slow)
        assert sixth.result().data == b"5"
        assert source.read == 6
        slow.close()
        assert [item.data for item in fast] == [str(number).encode() for number in range(6, 20)]


def test_who_never_reads_holds_nobody_up() -> None:
    shared = SharedPictures(iter(Source(1000)), 2)
    shared.leave(0)
    assert len(list(shared.read(1))) == 1000


def test_an_error_of_reading_reaches_every_reader() -> None:
    shared = SharedPictures(iter(Source(10, fails_at=3)), 2)
    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(lambda reader: list(shared.read(reader)), number) for number in range(2)]
        errors = [future.exception(timeout=60) for future in reading]
    assert all(isinstance(error, OSError) for error in errors)
