"""mmc4 report: writes a dataset's report page again, and shows on the terminal what became of everything."""

import argparse

from rich.console import Console

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.stage_folder import StageFolder
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.report.funnel import print_funnel
from mmc4_pipeline.report.page import write_report
from schemas.reasons import Stage


def main(argv: list[str]) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="mmc4 report", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("dataset", metavar="DATASET_FOLDER", help="a finished dataset, such as out/dataset/mmc4")
    folder = _dataset(parser.parse_args(argv).dataset.rstrip("/") or "/")
    path = write_report(folder)
    console = Console()
    print_funnel(folder.manifest(), console)
    console.print(f"\n{path}", soft_wrap=True, highlight=False, markup=False)


def _dataset(path: str) -> StageFolder:
    """Give the folder of a finished dataset; raises UserError where it is something else."""
    folder = StageFolder(path, Stage.CUT)
    if storage.exists(folder.file("manifest.json")) and folder.manifest().get("stage") == Stage.CUT:
        return folder
    manifests = [
        *storage.matches_below(path, "*/manifest.json"),
        *storage.matches_below(path, "dataset/*/manifest.json"),
    ]
    datasets = [
        manifest.removesuffix("/manifest.json")
        for manifest in manifests
        if storage.read_json(manifest).get("stage") == Stage.CUT
    ]
    if datasets:
        hint = f"give one of the datasets below it: {', '.join(datasets)}"
    elif storage.exists(folder.file("plan.json")) and folder.plan().get("stage") == Stage.CUT:
        hint = "its cut is not finished; run `mmc4 cut` with --resume"
    else:
        hint = "give the folder that `mmc4 cut` or `mmc4 build` has made, such as out/dataset/mmc4"
    message = f"{path}: no finished dataset; {hint}"
    raise UserError(message)
