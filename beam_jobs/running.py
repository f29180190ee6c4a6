"""What all jobs share: where their folders are, and running a pipeline with its progress shown."""

import os
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from beam_jobs.options import LOCAL_RUNNER
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
    Raises UserError where the folder can't be resumed.
    """
    if not folder.begin(plan, shards, resume=resume):
        return folder.manifest()
    done = folder.done()
    todo = [shard for shard in range(shards) if shard not in done]
    if todo:
        with showing_progress(folder, progress or Notes("done", shards, "shards")):
            pipeline = beam.Pipeline(runner=_runner(options), options=options)
            build(pipeline, todo)
            pipeline.run().wait_until_finish()
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


def _runner(options: PipelineOptions) -> PipelineRunner | None:
    """Give the local runner, in this process or over several; None where another runner was chosen.

    Beam's own way to several processes (--direct_running_mode multi_processing) lets them write each of their steps
    to the terminal; here that goes to a file. What goes wrong in them is raised in this process all the same.
    """
    direct = options.view_as(DirectOptions)
    if options.view_as(StandardOptions).runner != LOCAL_RUNNER:
        return None
    if direct.direct_num_workers == 1 or direct.direct_running_mode != "in_memory":
        return FnApiRunner()
    log = Path(tempfile.gettempdir()) / f"mmc4-workers-{os.getpid()}.log"
    command = shlex.join([sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main"])
    redirected = f"{command} 2>> {shlex.quote(str(log))}"
    return FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(redirected))
