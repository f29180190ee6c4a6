"""build: runs all stages, from documents, WARC files or a published dataset to shards; --resume keeps finished ones."""

from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import cut, images, locate, pages, score
from beam_jobs.command_line import OWN_OPTIONS, parse
from beam_jobs.options.common import output_folder
from beam_jobs.options.dataset import CutOptions, dataset_settings
from beam_jobs.options.images import face_detector, fetch_settings
from beam_jobs.options.pages import PagesOptions
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.score import chosen_scorers, score_hints
from mmc4_pipeline.clip.extra import require_score_extra
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.report.funnel import print_dataset
from mmc4_pipeline.run_folders import stage_folder
from mmc4_pipeline.scorers.registry import name_of
from mmc4_pipeline.scoring.base import Scorer
from mmc4_pipeline.terminal import Console
from schemas.manifest import CLIP, CutPlan, Manifest
from schemas.reasons import Stage

DESCRIPTION = """\
Build an interleaved image-text dataset: run all five stages, from C4 documents to shards.

The stages are locate, pages, images, score and cut; `mmc4 STAGE --help` describes each of them. With --warcs, the pages
of WARC files take the place of C4's documents, and with --published those of a published interleaved dataset; then
there is nothing to locate. Writes OUTPUT/dataset/RECIPE/, and what each stage found to a folder of its own in OUTPUT.
Before anything is read, all options and model weights are checked.

An interrupted build continues with --resume, from the last shard that was finished. `mmc4 plan` estimates beforehand
what a build reads and costs; `mmc4 status` shows how far it is.

Examples:
  mmc4 build --output out --c4 'c4/en/c4-train.00000-of-01024.json.gz' \\
      --cc_root https://data.commoncrawl.org \\
      --fetch_user_agent 'my-dataset/1.0 (+https://example.org/contact)'
  mmc4 build --output out --published 'mmc4-ff/*.jsonl.zip' \\
      --fetch_user_agent 'my-dataset/1.0 (+https://example.org/contact)'
  mmc4 build --output out --warcs 'crawl/*.warc.gz' --recipe page-text \\
      --fetch_user_agent 'my-dataset/1.0 (+https://example.org/contact)'
"""
OPTIONS = tuple(options for options in OWN_OPTIONS if options is not CutOptions)


def run(options: PipelineOptions) -> Manifest[CutPlan]:
    """Run all stages and return the dataset's manifest. All options are checked before any page is read."""
    require_score_extra("mmc4 build")
    check_options(options)
    recipe, scorers = recipe_of(options), chosen_scorers(options)
    score.require_models(recipe, scorers)
    own = options.view_as(PagesOptions)
    first = () if own.warcs or own.published else (locate,)
    for stage in (*first, pages, images, score):
        stage.run(options)
    return cut.run(options, scores=_scores(recipe, scorers))


def _scores(recipe: Recipe, scorers: Sequence[Scorer]) -> list[str]:
    """Return the folders of the scores that the recipe uses. Raises UserError if the scorers do not make them."""
    made = ", ".join(scorer.folder for scorer in scorers)
    folders: dict[str, list[str]] = {}
    for scorer in scorers:
        for name in {scorer.folder, name_of(scorer)}:
            folders.setdefault(name, []).append(scorer.folder)
    for name in recipe.score_names or (CLIP,):
        if len(folders.get(name, [])) != 1:
            raise UserError(f"recipe {recipe.name}: scores: {name}, but --scorer and --clip_model make {made}")
    return [folders[name][0] for name in recipe.score_names or (CLIP,)]


def check_options(options: PipelineOptions) -> None:
    """Raise UserError if the options do not fit together; the weights may still be missing."""
    _scores(recipe_of(options), chosen_scorers(options))
    fetch_settings(options)
    face_detector(options)
    dataset_settings(options)
    score_hints(options)
    pages.check(options)


def main(argv: list[str], program: str = "mmc4 build") -> None:
    """Run from the command line, and print what was kept and where it is."""
    options = parse(argv, program, DESCRIPTION, OPTIONS)
    run(options)
    print_dataset(stage_folder(output_folder(options), Stage.CUT, recipe_of(options).name), Console())


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("build")
