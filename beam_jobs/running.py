"""What all jobs share: where their folders are, and running a pipeline with its progress shown."""

from collections.abc import Callable
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.runners import cancelling, check_engine, runner
from mmc4_pipeline import storage
from mmc4_pipeline.dataset.stage_folder import StageFolder
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.progress import Notes, showing_progress
from schemas.document import RejectedDocument
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
    progress: Notes | None = None,
) -> dict[str, Any]:
    """Run a stage to its manifest, which is given back. `build` wires the pipeline for the shards still to do.

    `progress` says what to count where the shards are not what takes the time. A finished stage is left as it is.
    Raises UserError where the folder can't be resumed, or the engine does not answer.
    """
    check_engine(options)
    if not folder.begin(plan, shards, resume=resume):
        return folder.manifest()
    done = folder.done()
    todo = [shard for shard in range(shards) if shard not in done]
    if todo:
        with showing_progress(folder, progress or Notes("done", shards, "shards")):
            pipeline = beam.Pipeline(runner=runner(options), options=options)
            build(pipeline, todo)
            result = pipeline.run()
            with cancelling(result, options):
                result.wait_until_finish()
    return folder.finish()


def refuse_nothing_kept(folder: StageFolder, manifest: dict[str, Any], could: str, remedy: str) -> None:
    """Raise UserError where a stage dropped every document: one of them as an example, and what to look at."""
    counts = manifest["counts"]["documents"]
    if counts["kept"]:
        return
    names = [file["name"] for file in manifest["files"] if file["name"].startswith("rejects-")]
    rejects = (reject for name in names for reject in storage.read_records(folder.file(name), RejectedDocument))
    first = next(rejects, None)
    example = f"; for one, {first.url or 'no URL'} ({first.source}): {first.detail}" if first else ""
    message = f"none of the {counts['in']} documents could {could}{example}. {remedy}"
    raise UserError(message)
