"""build: all five stages, from C4 documents to shards. What is finished already is left as it is with --resume.

With --warcs there is nothing to locate, and the other four run.
"""

from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import cut, images, locate, pages, score
from beam_jobs.command_line import OWN_OPTIONS, CutOptions, PagesOptions, parse
from beam_jobs.from_options import (
    dataset_settings,
    face_detector,
    fetch_settings,
    recipe_of,
    score_hints,
    scorer_settings,
)
from mmc4_pipeline.clip.extra import require_score_extra
from mmc4_pipeline.errors import UserError

OPTIONS = tuple(options for options in OWN_OPTIONS if options is not CutOptions)


def run(options: PipelineOptions) -> dict[str, Any]:
    """Run all stages and give the dataset's manifest. What can be checked is checked before any page is read."""
    require_score_extra("mmc4 build")
    settings = scorer_settings(options)
    fetch_settings(options)
    face_detector(options)
    dataset_settings(options)
    recipe = recipe_of(options)
    if recipe.scores not in (None, settings.clip.name):
        message = f"recipe {recipe.name}: scores: {recipe.scores}, but --clip_model makes {settings.clip.name}"
        raise UserError(message)
    score_hints(options)
    score.require_models(recipe, settings)
    pages.check(options)
    before = () if options.view_as(PagesOptions).warcs else (locate,)
    for stage in (*before, pages, images, score):
        stage.run(options)
    return cut.run(options, scores=settings.clip.name)


def main(argv: list[str], program: str = "mmc4 build") -> None:
    """Run from the command line."""
    run(parse(argv, program, __doc__ or "", OPTIONS))


if __name__ == "__main__":
    from mmc4_pipeline.cli import run_job

    run_job("build")
