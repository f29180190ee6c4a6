"""Parts that the command lines of all commands share: the layout of `--help`, and common options."""

import argparse
import shutil
import textwrap

from mmc4_pipeline.recipe import recipe_names

_WIDEST = 100  # columns of `--help`: longer lines are hard to read, however wide the terminal is


class HelpFormatter(argparse.HelpFormatter):
    """Keeps the paragraphs of a description, and leaves those with indented lines (examples, tables) as they are."""

    def __init__(self, prog: str) -> None:
        columns = shutil.get_terminal_size().columns
        super().__init__(prog, max_help_position=28, width=min(columns, _WIDEST) - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip("\n").split("\n\n")
        return "\n\n".join(
            textwrap.indent(part if "\n " in f"\n{part}" else textwrap.fill(part, width), indent) for part in paragraphs
        )


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
