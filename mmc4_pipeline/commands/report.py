"""mmc4 report: writes a dataset's report page and prints its funnel, or compares several datasets."""

from mmc4_pipeline.arguments import command_parser
from mmc4_pipeline.dataset.files import finished_dataset
from mmc4_pipeline.report.comparison import comparison
from mmc4_pipeline.report.funnel import print_funnel
from mmc4_pipeline.report.page import statistics_of, write_report
from mmc4_pipeline.report.side_by_side import side_by_side
from mmc4_pipeline.terminal import Console
from schemas.manifest import CutPlan

DESCRIPTION = """\
Show how many documents and image links each stage of a dataset has kept and dropped, and why.

Reads a finished dataset. Prints the counts and writes them to report.html in the dataset's folder, with histograms,
sites and sample documents. `mmc4 cut` has already written that page; this command writes it again.

Given several datasets, it prints them side by side: what each has kept and dropped, and the medians of its scores.

Examples:
  mmc4 report out/dataset/mmc4
  mmc4 report out/dataset/mmc4 out/dataset/mmc4-itm
"""


def main(argv: list[str]) -> None:
    """Run from the command line."""
    parser = command_parser("report", DESCRIPTION)
    parser.add_argument(
        "datasets",
        nargs="+",
        metavar="DATASET_FOLDER",
        help="one or more finished datasets, for example out/dataset/mmc4",
    )
    folder, *others = map(finished_dataset, parser.parse_args(argv).datasets)
    console = Console()
    if others:
        console.print(side_by_side([folder, *others]), highlight=False)
        return
    path = write_report(folder)
    manifest = folder.manifest(CutPlan)
    print_funnel(manifest, console)
    for what, result in comparison(manifest, statistics_of(folder.notes(), manifest.plan.input.all_columns)[0]):
        console.print(f"{what}: {result}", highlight=False, markup=False)
    console.print(f"\n{path}", soft_wrap=True, highlight=False, markup=False)
