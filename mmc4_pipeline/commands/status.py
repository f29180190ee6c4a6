"""mmc4 status: shows how far a run is, by stage: shards done, counts so far, when something was done last."""

import argparse
from datetime import UTC, datetime

from rich.console import Console

from mmc4_pipeline.report.funnel import print_statuses
from mmc4_pipeline.report.status import StageStatus, statuses

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
    console = Console()
    print_statuses(stages, console)
    under_way = [stage for stage in stages if not stage.is_finished]
    for stage in under_way:
        console.print(f"\n{_remark(stage, datetime.now(UTC))}", highlight=False)
    if not under_way:
        console.print("\nAll of these stages are finished.")


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
