"""mmc4 status: shows how far a run is, by stage: shards done, counts so far, when something was done last."""

import argparse
from datetime import UTC, datetime

from rich.console import Console

from mmc4_pipeline.report.status import StageStatus, status_table, statuses
from schemas.reasons import Stage

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def main(argv: list[str]) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="mmc4 status",
        description=(__doc__ or "").partition(": ")[2],
        epilog="It reads what the run has written, so it works during a run, after one that was stopped, and from any "
        "machine that reaches the folder.",
    )
    parser.add_argument("output", metavar="OUTPUT_FOLDER", help="the run's --output")
    stages = statuses(parser.parse_args(argv).output)
    remarks = [_remark(stage, datetime.now(UTC)) for stage in stages if not stage.is_finished]
    console = Console(markup=False, highlight=False)
    console.print(status_table(stages))
    for remark in remarks or [_next(stages[-1])]:
        console.print(f"\n{remark}")


def _next(last: StageStatus) -> str:
    """Say what comes after stages that are all finished."""
    following = list(Stage)[list(Stage).index(last.stage) + 1 :]
    return "All of these stages are finished." + (f" Next is mmc4 {following[0]}." if following else "")


def _remark(stage: StageStatus, now: datetime) -> str:
    """Say of a stage under way what its shards can't tell."""
    steps = "".join(f", {number:,} {step}" for step, number in sorted(stage.steps.items()))
    last = f"the last note is {_ago(now, stage.last)} old" if stage.last else "nothing is done yet"
    return (
        f"{stage.folder} is not finished: {stage.done:,} of {stage.shards:,} shards done{steps}; {last}. "
        "If nothing runs any more, continue with --resume."
    )


def _ago(now: datetime, moment: datetime) -> str:
    seconds = max(0.0, (now - moment).total_seconds())
    for size, unit in ((_DAY, "days"), (_HOUR, "hours"), (_MINUTE, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
