"""mmc4 export: writes a finished dataset in other formats."""

from mmc4_pipeline.arguments import command_parser
from mmc4_pipeline.dataset.files import finished_dataset
from mmc4_pipeline.export import export, sources
from mmc4_pipeline.formats.registry import known_formats, parse_formats
from mmc4_pipeline.progress import counting_files
from mmc4_pipeline.terminal import Console

DESCRIPTION = """\
Write a finished dataset in other formats, without cutting it again.

Reads the dataset's shards in a format that has everything (openflamingo, webdataset or energon). The new shards have
the same documents as those of the same number, and are listed in the manifest, so that `mmc4 verify` and
`mmc4 takedown` include them. If it is interrupted, run the same command again.

Examples:
  mmc4 export out/dataset/mmc4 --formats parquet
  mmc4 export out/dataset/mmc4 --formats energon mds --workers 4
  mmc4 export out/dataset/mmc4 --formats chat_jsonl:template=llava
"""


def main(argv: list[str]) -> None:
    """Run from the command line."""
    parser = command_parser("export", DESCRIPTION)
    parser.add_argument("dataset", metavar="DATASET_FOLDER", help="a finished dataset, for example out/dataset/mmc4")
    parser.add_argument(
        "--formats",
        nargs="+",
        required=True,
        metavar="NAME",
        help=f"formats, one or more of {', '.join(known_formats())}; settings follow a colon",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    arguments = parser.parse_args(argv)
    names = [name for choice in arguments.formats for name in ([choice] if ":" in choice else choice.split(","))]
    formats = parse_formats(names)
    folder = finished_dataset(arguments.dataset)
    with counting_files("export", sources(folder, formats)) as advance:
        written = export(folder, formats, workers=max(1, arguments.workers), advance=advance)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    size = sum(file.bytes for file in written)
    console.print(f"{folder.path}: wrote {len(written)} files ({size / 1e9:.3f} GB) in {', '.join(formats)}")
