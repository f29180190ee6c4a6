"""mmc4 status: prints how far a run is, by stage."""

from datetime import UTC, datetime

from mmc4_pipeline.arguments import command_parser
from mmc4_pipeline.report.status import StageStatus, status_table, statuses
from mmc4_pipeline.terminal import Console
from schemas.reasons import Stage

DESCRIPTION = """\
Show how far a run is, by stage: finished shards, counts so far, and when a shard was last finished.

Reads what the run has written to its output folder, so it works while the run continues, after it was interrupted, and
from any machine that can read the folder.

Example:
  mmc4 status out
"""
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def main(argv: list[str]) -> None:
    """Run from the command line."""
    parser = command_parser("status", DESCRIPTION)
    parser.add_argument("output", metavar="OUTPUT_FOLDER", help="the --output of the run")
    stages = statuses(parser.parse_args(argv).output)
    remarks = [_remark(stage, datetime.now(UTC)) for stage in stages if not stage.is_finished]
    console = Console(markup=False, highlight=False)
    console.print(status_table(stages))
    for remark in remarks or [_next(stages[-1])]:
        console.print(f"\n{remark}")


def _next(last: StageStatus) -> str:
    """Return what to do after the last stage, if all are finished."""
    following = list(Stage)[list(Stage).index(last.stage) + 1 :]
    return "All of these stages are finished." + (f" The next one is `mmc4 {following[0]}`." if following else "")


def _remark(stage: StageStatus, now: datetime) -> str:
    """Return what the table does not show about an unfinished stage."""
    steps = "".join(f", {number:,} {step}" for step, number in sorted(stage.steps.items()))
    last = f"something was last finished {_ago(now, stage.last)} ago" if stage.last else "nothing is finished yet"
    return (
        f"{stage.folder} is not finished: {stage.done:,} of {stage.shards:,} shards done{steps}; {last}. "
        "If the run has stopped, continue it with --resume."
    )


def _ago(now: datetime, moment: datetime) -> str:
    seconds = max(0.0, (now - moment).total_seconds())
    for size, unit in ((_DAY, "days"), (_HOUR, "hours"), (_MINUTE, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
