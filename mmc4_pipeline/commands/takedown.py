"""mmc4 takedown: takes the images and pages that a list names out of everything that is finished."""

import argparse

from rich.console import Console

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.progress import counting_files
from mmc4_pipeline.takedown.folders import find_parts
from mmc4_pipeline.takedown.run import Report, end_stopped, take_down, units_of


def main(argv: list[str]) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="mmc4 takedown", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument(
        "folder", metavar="FOLDER", help="an --output of `mmc4 build`, or a dataset whose stages are gone"
    )
    parser.add_argument(
        "--list",
        required=True,
        metavar="FILE",
        help="one entry a line, as in filters.deny_list: a host or domain, a URL, or sha256: and the hash of a URL",
    )
    parser.add_argument("--dry_run", action="store_true", help="say what would go, and write nothing")
    parser.add_argument("--workers", type=int, default=1, help="processes that look at shards (default: 1)")
    arguments = parser.parse_args(argv)
    try:
        parts = find_parts(arguments.folder)
        if end_stopped(parts, dry_run=arguments.dry_run):
            _console().print(f"{parts.root}: a takedown that had been stopped was ended first")
            parts = find_parts(arguments.folder)
        with counting_files("takedown", len(units_of(parts))) as advance:
            report = take_down(
                parts,
                arguments.list,
                dry_run=arguments.dry_run,
                workers=max(1, arguments.workers),
                advance=advance,
            )
    except KeyboardInterrupt as error:
        message = "stopped; run the same command again to go on"
        raise UserError(message) from error
    _say(report, parts.root, arguments.list, dry_run=arguments.dry_run)


def _say(report: Report, root: str, path: str, *, dry_run: bool) -> None:
    console = _console()
    done = "would be" if dry_run else "were"
    for name, out in report.parts.items():
        if report.files[name]:
            console.print(
                f"{name or root}: {out.documents} documents, {out.images} images and {out.links} links {done} "
                f"taken out; {report.files[name]} of {report.files_in_all[name]} files {done} written anew"
            )
    if not any(report.files.values()):
        console.print(f"{root}: has nothing of what {path} names; nothing {'would be' if dry_run else 'was'} written")
        return
    for card in report.edited:
        console.print(f"{card}: has other text than `mmc4 card` writes, and was left: its counts are those of before")
    if not dry_run:
        console.print(
            f"{root}: done. Whatever reads pages again needs the list too: --set filters.deny_list.list={path}"
        )


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False, markup=False)
