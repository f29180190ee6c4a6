"""mmc4 models: fetch the published weights that a recipe or a scorer needs, checked by sha256 where one is stated."""

import argparse
from pathlib import Path

from filters.base import ScoreFilter
from mmc4_pipeline.arguments import HelpFormatter, add_recipe, add_verbose, command_parser
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.catalogue import HubModel, PublishedFile, Weights
from mmc4_pipeline.models.fetch import clip_of, fetch, needed_by
from mmc4_pipeline.models.folder import ENVIRONMENT, models_folder
from mmc4_pipeline.models.hub import files_of
from mmc4_pipeline.progress import counting_bytes
from mmc4_pipeline.recipe import Recipe, load_recipe
from mmc4_pipeline.scorers.registry import beside_clip, known_scorers, parse_scorers
from mmc4_pipeline.storage import HttpSettings, Inputs
from mmc4_pipeline.terminal import Console
from schemas.manifest import CLIP

DESCRIPTION = """\
Fetch the published weights that a recipe needs, so that `mmc4 score` and `mmc4 build` find them.

Each file is checked against the sha256 that its publisher states, if there is one. An interrupted download is resumed,
and files that are already there are kept. On a machine without a connection, the command prints which file to store
where.

Example:
  mmc4 models fetch --recipe mmc4
  mmc4 models fetch --scorer blip_itm aesthetic
"""


def main(argv: list[str]) -> None:
    """Run from the command line. Prints a line for each file; raises UserError if one could not be fetched."""
    arguments = _parser().parse_args(argv)
    recipe = load_recipe(arguments.recipe)
    folder = Path(arguments.models_folder or models_folder())
    console = Console(soft_wrap=True, highlight=False, markup=False)
    files, missing = 0, 0
    for weights in _needed(recipe, arguments.scorer):
        try:
            parts = files_of(weights, folder, Inputs(HttpSettings())) if isinstance(weights, HubModel) else [weights]
        except UserError as error:
            missing += 1
            files += 1
            console.print(str(error))
            continue
        files += len(parts)
        missing += _fetch_all(parts, folder, console)
    if missing:
        raise UserError(f"{folder}: {missing} of {files} files could not be fetched, see above")
    if not arguments.scorer and any(item.column == "face" for item in recipe.of_kind(ScoreFilter).values()):
        console.print("A face head is not published: train one for your CLIP with `mmc4 train_faces`.")
    if CLIP in (arguments.scorer or [CLIP]) and clip_of(recipe) is None:
        console.print(
            f"{', '.join(recipe.score_names)}: this CLIP is not fetched here. open_clip downloads the weights that it "
            "knows when `mmc4 score` first needs them. On a machine without a connection, pass a file: "
            "--clip_pretrained PATH"
        )
    if folder.resolve() != models_folder().resolve():
        console.print(f"To let `mmc4 score` find them: export {ENVIRONMENT}={folder.resolve()}")


def _needed(recipe: Recipe, names: list[str] | None) -> list[Weights]:
    """Return what the named scorers need, or else a recipe with the scorers that it lists."""
    own = [] if names and CLIP not in names else needed_by(recipe)
    chosen = parse_scorers([name for name in names or beside_clip(recipe.score_names) if name != CLIP], {})
    return list(dict.fromkeys([*own, *(weights for scorer in chosen for weights in scorer.published)]))


def _fetch_all(files: list[PublishedFile], folder: Path, console: Console) -> int:
    """Fetch files, print a line for each, and return how many could not be fetched."""
    missing = 0
    for file in files:
        try:
            with counting_bytes(file.name) as show:
                fetch(file, folder, Inputs(HttpSettings()), console.print, show)
        except UserError as error:
            missing += 1
            console.print(str(error))
    return missing


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
        "--scorer",
        nargs="+",
        metavar="NAME",
        help=f"fetch the weights of these scorers instead: one or more of {', '.join(known_scorers())} (clip: those of "
        "the recipe)",
    )
    fetching.add_argument(
        "--models_folder",
        metavar="FOLDER",
        help=f"folder for the weights (default: the environment variable {ENVIRONMENT}, or {models_folder()})",
    )
    return parser
