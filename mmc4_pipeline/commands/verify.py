"""mmc4 verify: checks a dataset against its manifest, its ledger and the published schema."""

import argparse

from rich.console import Console

from mmc4_pipeline.dataset.files import files_of, finished_dataset
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.progress import counting_files
from mmc4_pipeline.verify.dataset import verify


def main(argv: list[str]) -> None:
    """Run from the command line; raises UserError, after a line for each problem, where there are any."""
    parser = argparse.ArgumentParser(prog="mmc4 verify", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("dataset", metavar="DATASET_FOLDER", help="a finished dataset, such as out/dataset/mmc4-core")
    parser.add_argument("--subset_of", metavar="DATASET_FOLDER", help="check that this dataset has all of its images")
    parser.add_argument("--workers", type=int, default=1, help="processes that check shards (default: 1)")
    arguments = parser.parse_args(argv)
    folder = finished_dataset(arguments.dataset)
    whole = finished_dataset(arguments.subset_of) if arguments.subset_of else None
    with counting_files("verify", len(files_of(folder.manifest()))) as advance:
        report = verify(folder, whole, workers=max(1, arguments.workers), advance=advance)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for problem in report.problems:
        console.print(problem)
    if report.problems:
        message = f"{folder.path}: {len(report.problems)} problems, see above"
        raise UserError(message)
    subset = f", a subset of {whole.path}" if whole else ""
    console.print(
        f"{folder.path}: as its manifest says{subset}; {report.files} files of {report.bytes / 1e9:.3f} GB, "
        f"{report.documents} documents, {report.images} images, {report.links} links in the ledger"
    )
