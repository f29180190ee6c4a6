"""What all jobs share: where their folders are, and running a pipeline with its progress shown."""

from collections.abc import Callable
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from mmc4_pipeline import storage
from mmc4_pipeline.dataset.stage_folder import StageFolder
from mmc4_pipeline.progress import showing_progress
from schemas.reasons import Stage

FOLDERS = {Stage.LOCATE: "locations", Stage.PAGES: "pages", Stage.IMAGES: "images"}


def stage_folder(output: str, stage: Stage) -> StageFolder:
    """Give the folder of one of the first three stages; scores and datasets have a name of their own."""
    return StageFolder(storage.join(output, FOLDERS[stage]), stage)


def run_stage(
    folder: StageFolder,
    plan: dict[str, Any],
    shards: int,
    options: PipelineOptions,
    build: Callable[[beam.Pipeline, list[int]], None],
    *,
    resume: bool,
) -> dict[str, Any]:
    """Run a stage to its manifest, which is given back. `build` wires the pipeline for the shards still to do.

    A finished stage is left as it is. Raises UserError where the folder can't be resumed.
    """
    if not folder.begin(plan, shards, resume=resume):
        return folder.manifest()
    done = folder.done()
    todo = [shard for shard in range(shards) if shard not in done]
    if todo:
        with showing_progress(folder, shards):
            pipeline = beam.Pipeline(options=options)
            build(pipeline, todo)
            pipeline.run().wait_until_finish()
    return folder.finish()
