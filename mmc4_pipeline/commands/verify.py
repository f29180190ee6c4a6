"""mmc4 verify: checks a dataset against its manifest, its ledger and the published schema."""

from mmc4_pipeline.arguments import command_parser
from mmc4_pipeline.dataset.files import files_of, finished_dataset
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.progress import counting_files
from mmc4_pipeline.terminal import Console
from mmc4_pipeline.verify.dataset import verify

DESCRIPTION = """\
Check a finished dataset: are all files complete and consistent?

Reads the dataset and writes nothing. Every file is compared with the manifest, every document with the published JSON
schema, and every image is decoded and looked up in the ledger. Each problem is printed in a line of its own, and the
exit code is 1 if there are any.

Examples:
  mmc4 verify out/dataset/mmc4
  mmc4 verify out/dataset/mmc4-core --subset_of out/dataset/mmc4 --workers 4
"""


def main(argv: list[str]) -> None:
    """Run from the command line. Prints a line for each problem; raises UserError if there are any."""
    parser = command_parser("verify", DESCRIPTION)
    parser.add_argument("dataset", metavar="DATASET_FOLDER", help="a finished dataset, for example out/dataset/mmc4")
    parser.add_argument(
        "--subset_of", metavar="DATASET_FOLDER", help="also check that this other dataset contains all its images"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    arguments = parser.parse_args(argv)
    folder = finished_dataset(arguments.dataset)
    whole = finished_dataset(arguments.subset_of) if arguments.subset_of else None
    with counting_files("verify", len(files_of(folder.manifest()))) as advance:
        report = verify(folder, whole, workers=max(1, arguments.workers), advance=advance)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for problem in report.problems:
        console.print(problem)
    if report.problems:
        raise UserError(f"{folder.path}: {len(report.problems)} problems, see above")
    subset = f" and is a subset of {whole.path}" if whole else ""
    console.print(
        f"{folder.path}: OK, matches its manifest{subset} ({report.files} files, {report.bytes / 1e9:.3f} GB, "
        f"{report.documents} documents, {report.images} images, {report.links} links in the ledger)"
    )
