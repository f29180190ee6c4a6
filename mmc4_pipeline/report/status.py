"""Shows the progress of the stages in an output folder, which it reads from their plans, notes and manifests."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from rich.table import Table

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.report.funnel import cells, row_of
from mmc4_pipeline.run_folders import NAMED, folder_name
from mmc4_pipeline.stage_folder import StageFolder
from schemas.manifest import Plan, StagePlan
from schemas.reasons import Stage
from schemas.statistics import Counts

_PLANS = ("*/plan.json", *(f"{folder_name(stage)}/*/plan.json" for stage in NAMED))


@dataclass(frozen=True, slots=True)
class StageStatus:
    """The progress of a stage. `folder` is below the output folder, `counts` are those of its finished shards.

    Of a stage under way `steps` are those that come before a shard is done, for how many shards, or parts of the crawl,
    each is; `last` is when the newest note was written. A finished stage has neither.
    """

    stage: Stage
    folder: str
    shards: int
    done: int
    is_finished: bool
    counts: dict[str, Counts]
    steps: dict[str, int]
    last: datetime | None


def statuses(output: str) -> list[StageStatus]:
    """Return the progress of each stage that has begun, in the stages' order; raises UserError if none has."""
    found = [
        _status(path.removesuffix("/plan.json"), pattern.count("/"))
        for pattern in _PLANS
        for path in storage.matches_below(output, pattern)
    ]
    if not found:
        message = f"{output}: no stage has begun here; give the folder that was a run's --output"
        raise UserError(message)
    return sorted(found, key=lambda status: (list(Stage).index(status.stage), status.folder))


def _status(path: str, depth: int) -> StageStatus:
    """Return the progress of the stage in a folder that is `depth` levels below the output folder."""
    plan: Plan = storage.read_json(storage.join(path, "plan.json"), StagePlan)
    folder = StageFolder(path, plan.stage)
    is_finished, done = folder.is_finished(), folder.done()
    counts = folder.manifest().counts if is_finished else folder.counts(done)
    notes = {} if is_finished else storage.modified_below(path, "*/**/[0-9]*.json")
    steps = Counter(_step(note) for note in notes)
    del steps["done"]
    return StageStatus(
        stage=folder.stage,
        folder="/".join(path.split("/")[-depth:]),
        shards=plan.shards,
        done=len(done),
        is_finished=is_finished,
        counts=counts,
        steps=dict(steps),
        last=max(notes.values(), default=None),
    )


def _step(note: str) -> str:
    """Return the folder of a step's notes, which may be in subfolders of it."""
    *_, above, folder, _ = note.split("/")
    return above if folder.isdigit() else folder


def status_table(stages: list[StageStatus]) -> Table:
    """Return the progress as a table, which is readable in 80 columns or more."""
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("folder", overflow="fold")
    table.add_column("shards", justify="right", no_wrap=True)
    table.add_column("documents", justify="right", no_wrap=True)
    table.add_column("image links", justify="right", no_wrap=True)
    table.add_column("dropped, by reason", ratio=1)
    for stage in stages:
        rows = [row_of(stage.folder, what, counts) for what, counts in stage.counts.items()]
        done = f"{stage.done:,}" if stage.is_finished else f"{stage.done:,} of {stage.shards:,}"
        table.add_row(stage.folder, done, *cells(rows))
    return table
