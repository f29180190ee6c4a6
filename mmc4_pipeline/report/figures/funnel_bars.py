"""The funnel: bars of what remains after each stage, and of what it dropped for each reason."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmc4_pipeline.report.funnel import FunnelRow


@dataclass(frozen=True, slots=True)
class FunnelBar:
    """One bar of the funnel: what remains, or what was dropped for a reason, in percent of the input."""

    label: str
    count: int
    start: float
    width: float
    is_drop: bool


def funnel_bars(rows: Sequence[FunnelRow], what: str) -> list[FunnelBar]:
    """Return the bars of "links" or "documents". A reason's bar ends where the one above it starts."""
    rows = [row for row in rows if row.what == what]
    if not rows:
        return []
    percent = 100 / max(rows[0].seen, 1)
    bars = [FunnelBar("all", rows[0].seen, 0, rows[0].seen * percent, is_drop=False)]
    for row in rows:
        left = row.seen
        for reason, count in row.dropped:
            left -= count
            bars.append(FunnelBar(reason, count, left * percent, count * percent, is_drop=True))
        if row is rows[-1]:
            bars.append(FunnelBar("kept", row.kept, 0, row.kept * percent, is_drop=False))
        elif row.dropped:
            bars.append(FunnelBar(f"after {row.stage}", row.kept, 0, row.kept * percent, is_drop=False))
    return bars
