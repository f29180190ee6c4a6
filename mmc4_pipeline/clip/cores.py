"""Compute one batch per CPU core, so that the bytes of the results do not depend on the number of cores."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Cores:
    """Computes with PyTorch on several cores.

    PyTorch itself splits each product among all cores. The order of its additions then depends on their number, so
    that a retry on another machine would return other bytes. It is not faster either (docs/performance.md).
    """

    def __init__(self, number: int | None = None) -> None:
        """Use that many cores, or all that this process may use. From now on PyTorch uses one core per thread."""
        self.number = number or cores_for(1)
        torch.set_num_threads(1)
        # A thread that has already computed would keep its former number, so these threads are new ones.
        self._pool = ThreadPoolExecutor(
            self.number, thread_name_prefix="compute", initializer=torch.set_num_threads, initargs=(1,)
        )

    def map(self, compute: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Compute the items in parallel and yield the results in their order."""
        return self._pool.map(compute, items)


def cores_for(processes: int) -> int:
    """Return how many of this machine's cores each of that many worker processes may use."""
    return max(1, len(os.sched_getaffinity(0)) // processes)
