"""mmc4 models: fetch the published weights that a recipe needs, checked by sha256."""

import argparse
from pathlib import Path

from filters.base import ScoreFilter
from mmc4_pipeline.arguments import HelpFormatter, add_recipe, add_verbose, command_parser
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.fetch import fetch, needed_by
from mmc4_pipeline.models.folder import ENVIRONMENT, models_folder
from mmc4_pipeline.progress import counting_bytes
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.storage import HttpSettings, Inputs
from mmc4_pipeline.terminal import Console

DESCRIPTION = """\
Fetch the published weights that a recipe needs, so that `mmc4 score` and `mmc4 build` find them.

Each file is checked against a known sha256. An interrupted download is resumed, and files that are already there are
kept. On a machine without a connection, the command prints which file to store where.

Example:
  mmc4 models fetch --recipe mmc4
"""


def main(argv: list[str]) -> None:
    """Run from the command line. Prints a line for each file; raises UserError if one could not be fetched."""
    arguments = _parser().parse_args(argv)
    recipe = load_recipe(arguments.recipe)
    files, folder = needed_by(recipe), Path(arguments.models_folder or models_folder())
    console = Console(soft_wrap=True, highlight=False, markup=False)
    missing = 0
    for file in files:
        try:
            with counting_bytes(file.name) as show:
                fetch(file, folder, Inputs(HttpSettings()), console.print, show)
        except UserError as error:
            missing += 1
            console.print(str(error))
    if missing:
        raise UserError(f"{folder}: {missing} of {len(files)} files could not be fetched, see above")
    if any(item.column == "face" for item in recipe.of_kind(ScoreFilter).values()):
        console.print("A face head is not published: train one for your CLIP with `mmc4 train_faces`.")
    if folder.resolve() != models_folder().resolve():
        console.print(f"To let `mmc4 score` find them: export {ENVIRONMENT}={folder.resolve()}")


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("models", "Manage the published model weights.")
    fetching = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "fetch",
        help="fetch the weights that a recipe needs",
        description=DESCRIPTION,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    add_verbose(fetching)
    add_recipe(fetching)
    fetching.add_argument(
        "--models_folder",
        metavar="FOLDER",
        help=f"folder for the weights (default: the environment variable {ENVIRONMENT}, or {models_folder()})",
    )
    return parser
