"""Compares several datasets: a column for each, with what was kept, what was dropped, and the median of each score."""

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

import yaml
from rich.table import Table

from mmc4_pipeline.report.page import statistics_of
from mmc4_pipeline.stage_folder import StageFolder
from schemas.columns import LedgerColumn, Shape, ledger_columns
from schemas.manifest import CutPlan
from schemas.statistics import SCORE_BINS, score_scale

_REASONS = 5  # of the cut, the most frequent ones over all datasets


def side_by_side(folders: Sequence[StageFolder]) -> Table:
    """Return a table with a column for each dataset. Medians are the middles of bins, a 50th of the range wide."""
    found = [_facts(folder) for folder in folders]
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for folder in folders:
        table.add_column(folder.path.rstrip("/").rpartition("/")[2], justify="right", overflow="fold")
    dropped = Counter[str]()
    for _, reasons in found:
        dropped.update(reasons)
    rows = dict.fromkeys(name for facts, _ in found for name in facts)
    for name in rows:
        table.add_row(name, *(facts.get(name, "") for facts, _ in found))
    for reason, _ in dropped.most_common(_REASONS):
        table.add_row(f"dropped: {reason}", *(f"{reasons[reason]:,}" for _, reasons in found))
    return table


def _facts(folder: StageFolder) -> tuple[dict[str, str], Counter[str]]:
    """Return a dataset's facts by name, and the images that the cut dropped by reason."""
    manifest = folder.manifest(CutPlan)
    given, counts = manifest.plan.input, manifest.counts
    columns = ledger_columns(given.all_columns)
    statistics, _ = statistics_of(folder.notes(), given.all_columns)
    documents, images = counts["documents"].kept, counts["links"].kept
    facts = {
        "scores": ", ".join(name for name in (given.scores, *given.more_scores) if name),
        "assignment": yaml.safe_dump(manifest.plan.recipe["assignment"], default_flow_style=True).split("\n")[0],
        "documents": f"{documents:,}",
        "images": f"{images:,}",
        "images per document": f"{images / documents:.2f}" if documents else "none",
    }
    medians = {
        f"median {item.name}": _median(statistics.scores.get(item.name, Counter()), item)
        for item in columns
        if item.column.shape is not Shape.TEXT
    }
    return facts | {name: value for name, value in medians.items() if value}, counts["links"].dropped


def _median(counts: Counter[int], item: LedgerColumn) -> str:
    """Return the middle of the median's bin, empty if nothing was counted."""
    if not counts:
        return ""
    bins = sorted(counts)
    reached = accumulate(counts[number] for number in bins)
    middle = next(number for number, seen in zip(bins, reached, strict=True) if 2 * seen >= counts.total())
    return f"{(middle + 0.5) * score_scale(item.column) / SCORE_BINS:.3g}"
