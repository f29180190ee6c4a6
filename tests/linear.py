"""Measures whether memory grows with the length of crafted input, and not with its square."""

import tracemalloc
from collections.abc import Callable

_COUNTS = (10_000, 20_000, 40_000)
_SLACK = 2 << 20  # bytes


def assert_memory_is_linear(read: Callable[[int], object]) -> None:
    """Read input with 10, 20 and 40 thousand repetitions, and compare the peaks."""
    read(10)  # imports and caches
    peaks = []
    for count in _COUNTS:
        tracemalloc.start()
        read(count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[-1] < 6 * peaks[0] + _SLACK  # 4 times if it is linear, 16 times if it is quadratic
