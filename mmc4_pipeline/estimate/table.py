"""Prints the needs of the stages as a table. Figures are rounded to what an estimate can know."""

from collections.abc import Sequence
from math import floor, log10

from rich.table import Table

from mmc4_pipeline.estimate.needs import Needs, total

_DAY = 24
_LEAST = 0.01  # hours: less is not worth a digit
_COLUMNS = ("requests", "read", "stored", "temp", "core h", "GPU h", "time", "limit", "cost")
_UNKNOWN = "?"


def stages_table(
    locate: Needs | None, sources: Sequence[Needs], later: Sequence[Needs], unknown: Sequence[str] = ()
) -> Table:
    """Return a table with a row per stage, the total, and below it the other page sources. It fits 80 columns.

    `locate` is None if nothing is located. `sources` are the pages stage by each source; the first one is part of the
    total. `unknown` are names of work whose needs are not known: they have rows without figures, before the total.
    """
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("stage", no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    best, *others = sources
    stages = [*([locate] if locate else []), best, *later]
    for item in stages:
        table.add_row(*_row(item, f"pages {item.way}".strip() if item is best else item.stage))
    for name in unknown:
        table.add_row(name, *[_UNKNOWN] * len(_COLUMNS))
    table.add_row(*_row(total(stages), "total"), style="bold")
    for item in others:
        table.add_row(*_row(item, f"or {item.way}"))
    return table


def _row(item: Needs, name: str) -> tuple[str, ...]:
    sizes = (short_bytes(number).replace(" ", "") for number in (item.read, item.stored, item.temporary))
    hours = (_count(number) for number in (item.core_hours, item.gpu_hours))
    return (name, _count(item.requests), *sizes, *hours, duration(item.hours), item.limit, dollars(item.dollars))


def _count(number: float) -> str:
    """Write a number with two digits that count: "1.3M", "360k", "0.4"; "-" for none."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if rounded(number) >= size:
            return f"{rounded(number / size):,g}{unit}"
    if 0 < number < _LEAST:
        return f"<{_LEAST:g}"
    return f"{rounded(number):g}" if number else "-"


def rounded(number: float, digits: int = 2) -> float:
    """Round to that many significant digits."""
    return round(number, digits - 1 - floor(log10(abs(number)))) if number else 0.0


def in_words(number: float) -> str:
    """Write a number with two digits that count: "1.3 billion", "360,000", "0.4"."""
    for size, name in ((1e9, " billion"), (1e6, " million")):
        if rounded(number) >= size:
            return f"{rounded(number / size):,g}{name}"
    return f"{rounded(number):,.0f}" if number >= 100 else f"{rounded(number):g}"


def short_bytes(number: float) -> str:
    """Write a number of bytes with two digits that count."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if rounded(number) >= size:
            return f"{rounded(number / size):,g} {unit}"
    return f"{rounded(number):g} B" if number else "-"


def duration(hours: float) -> str:
    """Write a duration in minutes, hours or days, with two digits that count."""
    if hours >= 2 * _DAY:
        return f"{rounded(hours / _DAY):,g} days"
    if rounded(hours) >= 1:
        return f"{rounded(hours):g} h"
    return f"{rounded(hours * 60):g} min" if hours * 60 >= 1 else "<1 min"


def dollars(amount: float) -> str:
    """Write dollars with two digits that count."""
    return f"${rounded(amount):,g}" if amount >= 1 else f"${amount:.2f}"
