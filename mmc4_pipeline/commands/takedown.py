"""mmc4 takedown: removes listed images and pages from all finished stages and datasets."""

from mmc4_pipeline.arguments import command_parser
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.progress import counting_files
from mmc4_pipeline.takedown.content import images_on, parts_of
from mmc4_pipeline.takedown.folders import find_folders
from mmc4_pipeline.takedown.lists import Lists
from mmc4_pipeline.takedown.run import Report, finish_stopped, take_down, units_of
from mmc4_pipeline.terminal import Console

DESCRIPTION = """\
Remove hosts, pages or images from everything that a run has finished.

Reads the lists and the run's folder, or a dataset whose other stages have been deleted. Rewrites the shards, ledgers,
manifests, reports and cards that contain a listed item, and no other file. If it is interrupted, run the same command
again. Published copies of a dataset are not changed: publish the rewritten files again.

With --content_list, the URLs of all images whose content is listed are removed. phash and sha256 are those of the
images as received; md5, sha1 and pdq are compared with the stored images, which takes longer. An image that was made
smaller or converted when it was stored is not found by its md5 or sha1.

Later runs need the same lists, in the recipe's filters deny_list and denied_content.

Examples:
  mmc4 takedown out --list removals.txt --dry_run
  mmc4 takedown out --content_list hashes.csv
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
        metavar="FILE",
        help="what to remove, one entry per line as in filters.deny_list: a host or domain, a URL, or sha256: followed "
        "by the hash of a URL",
    )
    parser.add_argument(
        "--content_list",
        metavar="FILE",
        help="hashes of images to remove, as in filters.denied_content: md5, sha1, sha256, phash or pdq, one per line "
        "or in columns of a CSV file; phash matches within 4 bits, pdq within 31",
    )
    parser.add_argument("--dry_run", action="store_true", help="print what would be removed, and write nothing")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    arguments = parser.parse_args(argv)
    if not (arguments.list or arguments.content_list):
        parser.error("give --list, --content_list or both")
    workers = max(1, arguments.workers)
    try:
        output, lists = find_folders(arguments.folder), Lists.at(arguments.list, arguments.content_list)
        if finish_stopped(output, lists, dry_run=arguments.dry_run):
            _console().print(f"{output.root}: an interrupted takedown was completed first")
            output = find_folders(arguments.folder)
        parts = parts_of(output, lists)
        with counting_files("content", len(parts)) as advance:
            lists = images_on(lists, parts, workers=workers, advance=advance)
        units = units_of(output, lists.denied())
        with counting_files("takedown", len(units)) as advance:
            report = take_down(output, lists, units, dry_run=arguments.dry_run, workers=workers, advance=advance)
    except KeyboardInterrupt as error:
        raise UserError("stopped; run the same command again to continue") from error
    paths = {"deny_list": arguments.list, "denied_content": arguments.content_list}
    _print(report, output.root, {key: path for key, path in paths.items() if path}, dry_run=arguments.dry_run)


def _print(report: Report, root: str, lists: dict[str, str], *, dry_run: bool) -> None:
    console = _console()
    remove, rewrite = ("would remove", "would rewrite") if dry_run else ("removed", "rewrote")
    for name, total in report.removed.items():
        if report.files[name]:
            console.print(
                f"{name or root}: {remove} {total.documents} documents, {total.images} images and {total.links} links; "
                f"{rewrite} {report.files[name]} of {report.files_in_all[name]} files"
            )
    if not any(report.files.values()):
        unchanged = f"no files {'would be' if dry_run else 'were'} changed"
        console.print(f"{root}: nothing matches {' or '.join(lists.values())}; {unchanged}")
        return
    for card in report.edited:
        console.print(f"{card}: was edited by hand and left unchanged; its counts are out of date")
    if not dry_run:
        options = " ".join(f"--set filters.{key}.list={path}" for key, path in lists.items())
        console.print(f"{root}: done. Runs that read the pages again need the list too: {options}")


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False, markup=False)
