"""A CPU's cores, each with a batch of its own: so the results' bytes don't depend on how many cores there are."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Cores:
    """Computes with PyTorch on so many cores.

    PyTorch's own way, all cores at one product, adds up in another order for another number of them, so that a retry
    on another machine would give other bytes. It is no faster either (docs/performance.md).
    """

    def __init__(self, number: int | None = None) -> None:
        """Use so many cores, or all that this process may use; from now on PyTorch uses one a thread."""
        self.number = number or cores_for(1)
        torch.set_num_threads(1)
        # A thread that has computed before would keep the number it began with: hence threads of its own.
        self._pool = ThreadPoolExecutor(
            self.number, thread_name_prefix="compute", initializer=torch.set_num_threads, initargs=(1,)
        )

    def map(self, compute: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Compute the items side by side and give the results in their order."""
        return self._pool.map(compute, items)


def cores_for(processes: int) -> int:
    """Give how many of this machine's cores are for each of so many worker processes."""
    return max(1, len(os.sched_getaffinity(0)) // processes)
