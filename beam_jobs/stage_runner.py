"""What all jobs share: where their folders are, and running a pipeline with its progress shown."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from beam_jobs import metrics
from beam_jobs.command_line import DATAFLOW_RUNNER, output_folder
from beam_jobs.dry_run import describe
from beam_jobs.engines import cancelling, runner
from mmc4_pipeline import storage
from mmc4_pipeline.errors import NotRunError, UserError
from mmc4_pipeline.progress import Notes, showing_progress
from mmc4_pipeline.stage_folder import StageFolder
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
    Raises UserError where the folder can't be resumed, NotRunError where the pipeline is not to be run here and now.
    """
    if options.view_as(TestOptions).dry_run:
        return _dry_run(folder, plan, shards, options, build, resume=resume)
    if not folder.begin(plan, shards, resume=resume):
        return folder.manifest()
    todo = _todo(folder, shards)
    if todo:
        with showing_progress(folder, progress or Notes("done", shards, "shards")):
            pipeline = _pipeline(options)
            build(pipeline, todo)
            result = pipeline.run()
            _refuse_to_wait_for_a_template(folder, options)
            with cancelling(result, options):
                result.wait_until_finish()
        manifest = folder.finish()
        metrics.record(output_folder(options), folder, options.view_as(StandardOptions).runner, result, todo)
        return manifest
    return folder.finish()


def _todo(folder: StageFolder, shards: int) -> list[int]:
    done = folder.done()
    return [shard for shard in range(shards) if shard not in done]


def _dry_run(
    folder: StageFolder,
    plan: dict[str, Any],
    shards: int,
    options: PipelineOptions,
    build: Callable[[beam.Pipeline, list[int]], None],
    *,
    resume: bool,
) -> dict[str, Any]:
    """Give the manifest of a finished stage; of another write the pipeline, and raise NotRunError, which says where."""
    if folder.may_begin(plan, shards, resume=resume) and storage.exists(folder.file("manifest.json")):
        return folder.manifest()
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=options)  # any: it is not run, and needs no account
    todo = _todo(folder, shards)
    build(pipeline, todo)
    file = storage.join(output_folder(options), "dry_run", f"{folder.stage}.pb")
    message = f"{folder.stage}: {len(todo)} of {shards} shards to do\n{describe(pipeline, options, file)}"
    raise NotRunError(message)


def _refuse_to_wait_for_a_template(folder: StageFolder, options: PipelineOptions) -> None:
    """Raise NotRunError where Beam has only written a template: somebody else starts it, once this program ended."""
    template = options.view_as(GoogleCloudOptions).template_location
    if template:
        message = (
            f"{folder.stage}: written to {template}; when its job is done, run this stage with --resume to close it"
        )
        raise NotRunError(message)


def _pipeline(options: PipelineOptions) -> beam.Pipeline:
    """Give an empty pipeline; raises UserError where the runner misses options, or its package."""
    if options.view_as(StandardOptions).runner == DATAFLOW_RUNNER:
        _require_dataflow(options)
    try:
        return beam.Pipeline(runner=runner(options), options=options)
    except ValueError as error:  # several lines, of which each names an option
        raise UserError("; ".join(str(error).splitlines()[1:]) or str(error)) from error


def _require_dataflow(options: PipelineOptions) -> None:
    message = ""
    if find_spec("apitools") is None:
        message = f"--runner {DATAFLOW_RUNNER}: needs more packages: pip install 'mmc4-pipeline[dataflow]'"
    elif not (options.view_as(WorkerOptions).sdk_container_image or options.view_as(SetupOptions).setup_file):
        message = "--sdk_container_image: workers need an image with this program in it; docs/dataflow.md makes one"
    if message:
        raise UserError(message)


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
