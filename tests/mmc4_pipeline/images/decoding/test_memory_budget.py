"""A budget shared by threads: never more is reserved than there is."""

import threading
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from mmc4_pipeline.images.decoding.memory_budget import MemoryBudget


@settings(max_examples=30)
@given(st.lists(st.integers(1, 10), min_size=1, max_size=60))
def test_never_more_than_the_budget_is_reserved_and_every_caller_gets_its_share(sizes: list[int]) -> None:
    budget, lock, reserved, most = MemoryBudget(10), threading.Lock(), 0, 0

    def use(size: int) -> int:
        nonlocal reserved, most
        with budget.reserve(size):
            with lock:
                reserved += size
                most = max(most, reserved)
            with lock:
                reserved -= size
        return size

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, sizes, timeout=30)) == sizes
    assert most <= 10
    assert reserved == 0
