"""Room shared by threads: never more than there is."""

import threading
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from mmc4_pipeline.images.decoding.memory_budget import MemoryBudget


@settings(max_examples=30)
@given(st.lists(st.integers(1, 10), min_size=1, max_size=60))
def test_never_more_than_there_is_and_all_get_their_turn(sizes: list[int]) -> None:
    room, lock, here, most = MemoryBudget(10), threading.Lock(), 0, 0

    def use(size: int) -> int:
        nonlocal here, most
        with room.reserve(size):
            with lock:
                here += size
                most = max(most, here)
            with lock:
                here -= size
        return size

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, sizes, timeout=30)) == sizes
    assert most <= 10
    assert here == 0
