"""mmc4 takedown: removes listed images and pages from all finished stages and datasets."""

from mmc4_pipeline.arguments import command_parser
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.progress import counting_files
from mmc4_pipeline.takedown.folders import find_folders
from mmc4_pipeline.takedown.run import ListFile, Report, finish_stopped, take_down, units_of
from mmc4_pipeline.terminal import Console

DESCRIPTION = """\
Remove hosts, pages or images from everything that a run has finished.

Reads the list and the run's folder, or a dataset whose other stages have been deleted. Rewrites the shards, ledgers,
manifests, reports and cards that contain a listed item, and no other file. If it is interrupted, run the same command
again. Published copies of a dataset are not changed: publish the rewritten files again.

Later runs that read the pages again need the same list, in the recipe's filter deny_list.

Examples:
  mmc4 takedown out --list removals.txt --dry_run
  mmc4 takedown out --list removals.txt --workers 4
"""


def main(argv: list[str]) -> None:
    """Run from the command line."""
    parser = command_parser("takedown", DESCRIPTION)
    parser.add_argument(
        "folder", metavar="FOLDER", help="the --output of a run, or a dataset whose other stages have been deleted"
    )
    parser.add_argument(
        "--list",
        required=True,
        metavar="FILE",
        help="what to remove (required), one entry per line as in filters.deny_list: a host or domain, a URL, or "
        "sha256: followed by the hash of a URL",
    )
    parser.add_argument("--dry_run", action="store_true", help="print what would be removed, and write nothing")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    arguments = parser.parse_args(argv)
    try:
        output, file = find_folders(arguments.folder), ListFile.at(arguments.list)
        if finish_stopped(output, file, dry_run=arguments.dry_run):
            _console().print(f"{output.root}: an interrupted takedown was completed first")
            output = find_folders(arguments.folder)
        units = units_of(output, file.read())
        with counting_files("takedown", len(units)) as advance:
            report = take_down(
                output,
                file,
                units,
                dry_run=arguments.dry_run,
                workers=max(1, arguments.workers),
                advance=advance,
            )
    except KeyboardInterrupt as error:
        raise UserError("stopped; run the same command again to continue") from error
    _print(report, output.root, arguments.list, dry_run=arguments.dry_run)


def _print(report: Report, root: str, path: str, *, dry_run: bool) -> None:
    console = _console()
    remove, rewrite = ("would remove", "would rewrite") if dry_run else ("removed", "rewrote")
    for name, total in report.removed.items():
        if report.files[name]:
            console.print(
                f"{name or root}: {remove} {total.documents} documents, {total.images} images and {total.links} links; "
                f"{rewrite} {report.files[name]} of {report.files_in_all[name]} files"
            )
    if not any(report.files.values()):
        console.print(f"{root}: nothing matches {path}; no files {'would be' if dry_run else 'were'} changed")
        return
    for card in report.edited:
        console.print(f"{card}: was edited by hand and left unchanged; its counts are out of date")
    if not dry_run:
        console.print(
            f"{root}: done. Runs that read the pages again need the list too: --set filters.deny_list.list={path}"
        )


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False, markup=False)
