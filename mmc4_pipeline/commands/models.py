"""mmc4 models: fetch the published weights that a recipe needs, checked by sha256."""

import argparse
from pathlib import Path

from rich.console import Console

from filters.base import ScoreFilter
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.fetch import fetch, needed_by
from mmc4_pipeline.models.folder import ENVIRONMENT, models_folder
from mmc4_pipeline.progress import counting_bytes
from mmc4_pipeline.recipe import load_recipe, recipe_names
from mmc4_pipeline.storage import HttpSettings, Inputs


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
    if any(item.needs == "face" for item in recipe.of_kind(ScoreFilter).values()):
        console.print("A face head is not published: train one for your CLIP with `mmc4 train_faces`.")
    if folder.resolve() != models_folder().resolve():
        console.print(f"To let `mmc4 score` find them: export {ENVIRONMENT}={folder.resolve()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mmc4 models", description="Fetch published weights.")
    fetching = parser.add_subparsers(required=True).add_parser(
        "fetch",
        help=(text := "fetch the weights that a recipe needs, checked by sha256"),
        description=f"{text.capitalize()}. An interrupted download is resumed.",
    )
    names = ", ".join(recipe_names())
    fetching.add_argument(
        "--recipe", default="mmc4", metavar="NAME", help=f"one of {names}, or a YAML file (default: mmc4)"
    )
    fetching.add_argument(
        "--models_folder",
        metavar="FOLDER",
        help=f"folder for the weights (default: the environment variable {ENVIRONMENT}, or {models_folder()})",
    )
    return parser
