"""Runs units of work in several processes."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Unit = TypeVar("Unit")
Result = TypeVar("Result")


def in_processes(work: Callable[[Unit], Result], units: Sequence[Unit], workers: int) -> Iterator[Result]:
    """Yield the result of each unit, in order."""
    if workers == 1 or not units:
        yield from map(work, units)
        return
    # Spawned, not forked: Arrow and fsspec have threads of their own. Each gets the plans once, not with each unit.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_process, initargs=(work,)) as pool:
        yield from pool.map(_do_in_process, units)


_WORK: list[Callable[[Any], Any]] = []  # of a worker process


def _begin_process(work: Callable[[Any], Any]) -> None:
    _WORK.append(work)


def _do_in_process(unit: Any) -> Any:
    return _WORK[0](unit)
