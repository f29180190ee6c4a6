"""Caches of what is computed from texts that others wrote: bounded in bytes, not only in number."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

NAME_LENGTH = 300  # characters: a host with port and user; names of hosts have 253 at most
URL_LENGTH = 4096


def short_cache(number: int, length: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator like lru_cache for a function of texts, which caches only calls whose texts are short.

    At most `number` results are cached, each for texts of at most `length` characters together. A page may have
    thousands of different URLs of a megabyte each, which would fill the memory if they were all kept.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        cached = cast("Callable[P, T]", lru_cache(number)(function))

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            is_short = sum(map(len, args)) <= length  # type: ignore[arg-type]  # they are texts
            return cached(*args, **kwargs) if is_short else function(*args, **kwargs)

        return call

    return decorate
