"""The recipe of a run: --recipe, --set, and the two options that override a value of it by their own name."""

from dataclasses import replace

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.options.common import CommonOptions
from beam_jobs.options.dataset import DatasetOptions
from beam_jobs.options.locate import LocateOptions
from mmc4_pipeline.assignment import Assignment
from mmc4_pipeline.recipe import Recipe, load_recipe


def recipe_of(options: PipelineOptions) -> Recipe:
    """Return the recipe that the command line names, with its overrides. Raises UserError."""
    common = options.view_as(CommonOptions)
    recipe = load_recipe(common.recipe, tuple(common.set))
    crawl, assignment = options.view_as(LocateOptions).crawl, options.view_as(DatasetOptions).assignment
    chosen = Assignment(assignment) if assignment else recipe.assignment
    return replace(recipe, crawl=crawl or recipe.crawl, assignment=chosen)
