"""Parts that the command lines of all commands share: the layout of `--help`, and common options."""

import argparse
import shutil
import textwrap

from mmc4_pipeline.documents.fields import FORMATS
from mmc4_pipeline.recipe import recipe_names

_WIDEST = 100  # columns of `--help`: longer lines are hard to read, however wide the terminal is


class HelpFormatter(argparse.HelpFormatter):
    """Keeps the paragraphs of a description, and those with indented lines (examples, tables) as they are.

    Lines are not broken at hyphens, because names of recipes and models have them.
    """

    def __init__(self, prog: str) -> None:
        columns = shutil.get_terminal_size().columns
        super().__init__(prog, max_help_position=28, width=min(columns, _WIDEST) - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip("\n").split("\n\n")
        filled = (part if "\n " in part else "\n".join(self._split_lines(part, width)) for part in paragraphs)
        return textwrap.indent("\n\n".join(filled), indent)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


def command_parser(name: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of a command that is not a Beam job, with the options that every command has."""
    parser = argparse.ArgumentParser(
        prog=f"mmc4 {name}",
        description=description,
        epilog=epilog,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    add_verbose(parser)
    return parser


def add_verbose(group: argparse._ActionsContainer) -> None:
    """Add `-v`. `mmc4_pipeline.cli` looks for it before any parser does, so that imports are covered too."""
    group.add_argument("-v", "--verbose", action="store_true", help="also log what is in progress, on stderr")


def add_recipe(group: argparse._ActionsContainer) -> None:
    """Add `--recipe`."""
    group.add_argument(
        "--recipe",
        default="mmc4",
        metavar="NAME",
        help=f"recipe with the filters and thresholds: {', '.join(recipe_names())}, or a YAML file (default: mmc4)",
    )


def add_set(group: argparse._ActionsContainer, example: str) -> None:
    """Add `--set`."""
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"override one value of the recipe, for example {example}; can be repeated",
    )


def add_documents_format(group: argparse._ActionsContainer) -> None:
    """Add the options that say which fields the files of documents have."""
    group.add_argument(
        "--documents_format",
        choices=tuple(FORMATS),
        default="c4",
        help="corpus that the files of --c4 are from; all but c4 name the crawl of each document (default: c4)",
    )
    group.add_argument(
        "--c4_fields",
        nargs="+",
        default=[],
        metavar="NAME=COLUMN",
        help="names of the fields text, url and timestamp, if the files have other names, for example "
        "timestamp=date; also crawl and warc, if the files have them",
    )


def add_clip(group: argparse._ActionsContainer) -> None:
    """Add the options that choose a CLIP model and the device that it runs on."""
    group.add_argument(
        "--clip_model",
        default="ViT-L-14",
        metavar="NAME",
        help="CLIP model: a name known to open_clip, or a config file (.json) (default: ViT-L-14)",
    )
    group.add_argument(
        "--clip_pretrained",
        default="openai",
        metavar="TAG",
        help="weights of the CLIP model: a tag known to open_clip, a file, or random (default: openai)",
    )
    group.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, … (default: auto)")
