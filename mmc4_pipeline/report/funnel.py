"""Computes the funnel: how much went into each stage, was kept, and was dropped for each reason."""

from collections import Counter
from dataclasses import dataclass

from rich.table import Table

from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.terminal import Console
from schemas.manifest import CutPlan, Manifest
from schemas.reasons import Stage
from schemas.statistics import Counts

_SHORTENED_FROM = 10_000_000  # numbers from here on are shortened on a terminal, so that the table fits 80 columns


@dataclass(frozen=True, slots=True)
class FunnelRow:
    """The counts of "documents" or "links" in one stage. `dropped` has the most frequent reason first."""

    stage: str
    what: str
    seen: int
    kept: int
    dropped: list[tuple[str, int]]


def funnel(manifest: Manifest[CutPlan]) -> list[FunnelRow]:
    """Return a dataset's funnel: a row for each stage and kind of thing, in the stages' order."""
    stages = {**manifest.plan.before, Stage.CUT: manifest.counts}
    return [row_of(stage, what, counts) for stage in Stage for what, counts in stages.get(stage, {}).items()]


def _most_frequent_first(dropped: Counter[str]) -> list[tuple[str, int]]:
    return sorted(dropped.items(), key=lambda item: (-item[1], item[0]))


def print_funnel(manifest: Manifest[CutPlan], console: Console) -> None:
    """Print the funnel as a table, with a line for each stage and one for the total; it fits 80 columns."""
    rows = funnel(manifest)
    table = Table(show_footer=True, show_edge=False, pad_edge=False, footer_style="bold", header_style="bold")
    table.add_column("stage", "all", no_wrap=True)
    table.add_column("documents", _whole(rows, "documents"), justify="right", no_wrap=True)
    table.add_column("image links", _whole(rows, "links"), justify="right", no_wrap=True)
    table.add_column("dropped, by reason", ratio=1)
    for stage in dict.fromkeys(row.stage for row in rows):
        table.add_row(stage, *cells([row for row in rows if row.stage == stage]))
    console.print(table)


def print_dataset(folder: StageFolder, console: Console) -> None:
    """Print the funnel of a finished dataset, and where its parts are."""
    print_funnel(folder.manifest(CutPlan), console)
    places = {"dataset": folder.path, "ledger": folder.file("ledger"), "report": folder.file("report.html")}
    console.print()
    for what, path in places.items():
        console.print(f"{what:<7}  {path}", soft_wrap=True, highlight=False, markup=False)


def row_of(stage: str, what: str, counts: Counts) -> FunnelRow:
    """Return a row with the counts of "documents" or "links" in one stage."""
    return FunnelRow(stage, what, counts.seen, counts.kept, _most_frequent_first(counts.dropped))


def cells(rows: list[FunnelRow]) -> tuple[str, str, str]:
    """Return the columns of one stage: documents, image links, and the reasons for drops of each."""
    of_stage = {row.what: row for row in rows}
    documents, links = (_in_kept(of_stage[what]) if what in of_stage else "" for what in ("documents", "links"))
    return documents, links, "\n".join(f"{row.what}: {_reasons(row)}" for row in rows if row.dropped)


def _whole(rows: list[FunnelRow], what: str) -> str:
    of_it = [row for row in rows if row.what == what]
    return f"{_number(of_it[0].seen)} → {_number(of_it[-1].kept)}" if of_it else ""


def _in_kept(row: FunnelRow) -> str:
    return f"{_number(row.seen)} → {_number(row.kept)}"


def _reasons(row: FunnelRow) -> str:
    """Join reasons and counts without a space between them, so that no line is broken there."""
    return ", ".join(f"{reason}={_number(count)}" for reason, count in row.dropped)


def _number(count: int) -> str:
    return f"{count / 1_000_000:,.1f}M" if count >= _SHORTENED_FROM else f"{count:,}"
