"""mmc4 report: writes a dataset's report page again, and shows on the terminal what became of everything."""

import argparse

from rich.console import Console

from mmc4_pipeline.dataset.files import finished_dataset
from mmc4_pipeline.report.funnel import print_funnel
from mmc4_pipeline.report.page import write_report


def main(argv: list[str]) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="mmc4 report", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("dataset", metavar="DATASET_FOLDER", help="a finished dataset, such as out/dataset/mmc4")
    folder = finished_dataset(parser.parse_args(argv).dataset)
    path = write_report(folder)
    console = Console()
    print_funnel(folder.manifest(), console)
    console.print(f"\n{path}", soft_wrap=True, highlight=False, markup=False)
