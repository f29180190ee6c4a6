"""mmc4 try: build a first small dataset from C4 and the live web, with one command."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import build
from beam_jobs.command_line import parse
from beam_jobs.options.common import output_folder
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.score import chosen_scorers
from beam_jobs.options.web import http_settings
from beam_jobs.try_preview import COMMON_CRAWL, print_preview
from mmc4_pipeline.arguments import command_parser
from mmc4_pipeline.clip.extra import require_score_extra
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.fetching.robots import has_contact
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.catalogue import PublishedFile, Weights
from mmc4_pipeline.models.fetch import fetch, needed_by
from mmc4_pipeline.models.folder import fetched, models_folder, published_clip
from mmc4_pipeline.models.hub import files_of, is_fetched
from mmc4_pipeline.progress import counting_bytes
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.report.funnel import print_dataset
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.scorers.clip import Clip
from mmc4_pipeline.scoring.base import Scorer
from mmc4_pipeline.storage import Inputs
from mmc4_pipeline.storage.http.client import USER_AGENT
from mmc4_pipeline.terminal import Console
from schemas.reasons import Stage

DESCRIPTION = """\
Build a first dataset from the first 1,000 documents of C4, with their images from today's web.

Before it starts, it prints what it will download, and how long that takes: with ViT-L/14 on two cores about half an
hour. It fetches the weights, reads the documents from the Hugging Face Hub, looks them up in Common Crawl's index,
fetches pages and images, and prints what was kept and dropped. Everything is in the folder TRY, and its report is a
page for your browser. If the command is stopped or the connection is lost, repeat the command: it continues.

Examples:
  mmc4 try --contact you@example.org
  mmc4 try --contact https://example.org/bot --limit 200 --small --output small
"""
_C4 = "hf://datasets/allenai/c4/en/c4-train.00000-of-01024.json.gz"
_SHARDS = 20  # so that progress shows, and so that little is repeated after an interruption


def main(argv: list[str]) -> None:
    """Run from the command line."""
    own, rest = _parser().parse_known_args(argv)
    require_score_extra("mmc4 try")
    if own.limit < 1:
        raise UserError("--limit: must be at least 1")
    if not has_contact(own.contact):
        raise UserError(f"--contact {own.contact}: must be a URL or an e-mail address")
    options = parse([*_build_arguments(own), *rest], "mmc4 try", build.DESCRIPTION, build.OPTIONS)
    build.check_options(options)
    console = Console(highlight=False, markup=False)
    try:
        _run(options, console)
    except KeyboardInterrupt:
        sys.exit("mmc4: stopped; repeat this command to continue")


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("try", DESCRIPTION, "All other options are passed on to `mmc4 build`.")
    parser.add_argument(
        "--contact",
        required=True,
        metavar="ADDRESS",
        help="your e-mail address or a URL (required): the servers of the images see it in the User-Agent",
    )
    parser.add_argument(
        "--limit", type=int, default=1000, metavar="N", help="number of documents, the first ones of C4 (default: 1000)"
    )
    parser.add_argument("--output", default="try", metavar="TRY", help="folder for everything (default: try)")
    parser.add_argument(
        "--small",
        action="store_true",
        help="use CLIP ViT-B/32, which a CPU computes about eight times as fast, with the recipe mmc4-small: "
        "the filters for similarity and NSFW images are off, because their thresholds hold for ViT-L/14 only",
    )
    return parser


def _build_arguments(own: argparse.Namespace) -> list[str]:
    """Return the arguments of the build. Those of the command line follow, and take precedence."""
    small = catalogue.SMALL_CLIP_IDENTITY
    return [
        *("--c4", _C4, "--limit", str(own.limit), "--cc_root", COMMON_CRAWL, "--output", own.output, "--resume"),
        *("--documents_per_shard", str(max(1, own.limit // _SHARDS))),
        *("--fetch_user_agent", f"{USER_AGENT} {own.contact}"),
        *(("--recipe", "mmc4-small", "--clip_model", small["model"]) if own.small else ()),
    ]


def _run(options: PipelineOptions, console: Console) -> None:
    output, scorers, inputs = output_folder(options), chosen_scorers(options), Inputs(http_settings(options))
    for scorer in scorers:
        scorer.check_packages()
    missing = _missing_weights(recipe_of(options), scorers, inputs)
    if stage_folder(output, Stage.LOCATE).has_begun():
        console.print(f"{output}: continues after the last finished shard")
    else:
        print_preview(options, inputs, missing, console)
    for file in missing:
        with counting_bytes(file.name) as show:
            fetch(file, models_folder(), inputs, partial(console.print, soft_wrap=True), show)
    build.run(options)
    print_dataset(stage_folder(output, Stage.CUT, recipe_of(options).name), console)


def _missing_weights(recipe: Recipe, scorers: Sequence[Scorer], inputs: Inputs) -> list[PublishedFile]:
    """Return the published weights that the build needs and that are not on this machine yet.

    Raises UserError if the files of a model on the Hub cannot be listed.
    """
    clips = [scorer for scorer in scorers if isinstance(scorer, Clip)]
    known_clips = [file for file, _ in catalogue.published_clips()]  # the recipe's may not be the chosen one
    wanted: list[Weights | None] = [published_clip(clip.choice) for clip in clips]
    wanted += [file for file in needed_by(recipe) if file not in known_clips]
    if any(clip.nsfw_weights for clip in clips):
        wanted = [file for file in wanted if file is not catalogue.NSFW]
    wanted += [weights for scorer in scorers for weights in scorer.published]
    files: list[PublishedFile] = []
    for weights in dict.fromkeys(wanted):
        if isinstance(weights, PublishedFile):
            files.append(weights)
        elif weights and not is_fetched(weights):
            files += files_of(weights, models_folder(), inputs)
    return [file for file in files if not fetched(file)]
