"""Options of every stage."""

import argparse

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.engines import runs_here
from mmc4_pipeline.arguments import add_recipe, add_set, add_verbose
from mmc4_pipeline.errors import UserError


class CommonOptions(PipelineOptions):
    """Options of every stage. `--dry_run` is Beam's own."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("run")
        group.add_argument(
            "--output",
            metavar="FOLDER",
            help="folder or URL of the run (required); each stage writes to its own folder in it",
        )
        add_recipe(group)
        add_set(group, "filters.similarity.min=0.2")
        group.add_argument(
            "--resume", action="store_true", help="continue an interrupted run after its last finished shard"
        )
        add_verbose(group)


def output_folder(options: PipelineOptions) -> str:
    """Return the folder of the run. Raises UserError if it is missing, or if workers elsewhere could not find it."""
    folder = options.view_as(CommonOptions).output
    if not folder:
        raise UserError("--output is missing: name the folder or URL that the run is written to")
    if "://" not in folder and not folder.startswith("/") and not runs_here(options):
        raise UserError(
            f"--output {folder}: use absolute paths here and for all inputs; workers elsewhere start in another folder"
        )
    return str(folder)
