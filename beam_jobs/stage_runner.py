"""Runs a stage: plans it or resumes it, shows its progress, has its manifest written, and keeps metrics.

The manifest is written by the pipeline's last step: a job that somebody else starts, such as Dataflow with a template,
finishes its stage too.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
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
from apache_beam.pvalue import PCollection
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult

from beam_jobs import metrics
from beam_jobs.dataflow import options_for
from beam_jobs.dry_run import describe
from beam_jobs.engines import DATAFLOW_RUNNER, cancelling, runner
from beam_jobs.options.common import output_folder
from mmc4_pipeline import storage
from mmc4_pipeline.errors import NotRunError, UserError
from mmc4_pipeline.progress import Notes, showing_progress
from mmc4_pipeline.stage_folder import StageFolder
from schemas.document import RejectedDocument
from schemas.manifest import AnyPlan, Manifest, Plan

_log = logging.getLogger(__name__)

Build = Callable[[beam.Pipeline, list[int]], PCollection[Any]]
AfterManifest = Callable[[StageFolder], None]


def _nothing(_folder: StageFolder) -> None:
    pass


def run_stage(
    folder: StageFolder,
    plan: AnyPlan,
    options: PipelineOptions,
    build: Build,
    *,
    resume: bool,
    progress: Notes | None = None,
    after: AfterManifest = _nothing,
    also: Sequence[tuple[StageFolder, AnyPlan]] = (),
) -> Manifest[AnyPlan]:
    """Run a stage and return its manifest.

    `also` are further folders with their plans that the same pipeline writes, for the same shards. `build` gets the
    shards that any of the folders lacks.

    `build` wires the pipeline for the shards that are still to do, and returns a collection that is complete once all
    of them are written. `after` does what follows from the manifest, or removes what is no longer needed; workers may
    call it, several times. `progress` says what to count for the progress bar if most of the time is not spent on
    shards. A finished stage is not run again. Raises UserError if the folder cannot be resumed, NotRunError if the
    pipeline is only written.
    """
    every: list[tuple[StageFolder, AnyPlan]] = [(folder, plan), *also]
    for each, its_plan in every:
        each.may_begin(its_plan, resume=resume)  # before any of them is begun
    if options.view_as(TestOptions).dry_run:
        first, its_plan = next((pair for pair in every if not pair[0].is_finished()), every[0])
        return _dry_run(first, its_plan, options, with_last_step(build, first, after), resume=resume)
    unfinished: list[tuple[StageFolder, Plan]] = []
    for each, its_plan in every:
        if each.begin(its_plan, resume=resume):
            unfinished.append((each, its_plan))
        else:
            _log.info("%s: is already finished in %s", each.stage, each.path)
            after(each)
    if unfinished:
        _run_unfinished(unfinished, options, build, progress, after)
    return folder.manifest(type(plan))


def _run_unfinished(
    unfinished: Sequence[tuple[StageFolder, Plan]],
    options: PipelineOptions,
    build: Build,
    progress: Notes | None,
    after: AfterManifest,
) -> None:
    """Run what remains to be done. The first folder's notes are what progress and metrics count."""
    folder, plan = unfinished[0]
    todo = sorted({shard for each, its_plan in unfinished for shard in _todo(each, its_plan.shards)})
    for each, _ in unfinished:
        _log.info("%s: begins; %d of %d shards to do in %s", each.stage, len(todo), plan.shards, each.path)
    then = partial(_finish_others, [each for each, _ in unfinished[1:]], after)
    if todo:
        _run(folder, plan.shards, options, with_last_step(build, folder, then), todo, progress)
    else:
        _finish(folder, then)
    _log.info("%s: finished", folder.stage)


def _finish_others(others: Sequence[StageFolder], after: AfterManifest, folder: StageFolder) -> None:
    after(folder)
    for other in others:
        _finish(other, after)


def run_before(
    folder: StageFolder,
    plan: AnyPlan,
    options: PipelineOptions,
    build: Callable[[beam.Pipeline], PCollection[Any]],
    *,
    resume: bool,
    progress: Notes,
) -> None:
    """Run a pipeline from which the number of shards will follow; until then the plan has 0 shards.

    Raises the errors of `run_stage`.
    """

    def build_all(pipeline: beam.Pipeline, _todo: list[int]) -> PCollection[Any]:
        return build(pipeline)

    if options.view_as(TestOptions).dry_run:
        _dry_run(folder, plan, options, build_all, resume=resume)
    folder.begin(plan, resume=resume)
    _log.info("%s: begins; the number of shards is not known yet, in %s", folder.stage, folder.path)
    _run(folder, 0, options, build_all, [], progress)


def _run(
    folder: StageFolder,
    shards: int,
    options: PipelineOptions,
    build: Build,
    todo: list[int],
    progress: Notes | None,
) -> None:
    with showing_progress(folder, progress or Notes("done", shards, "shards")):
        pipeline = _pipeline(options_for(folder.stage, options))
        build(pipeline, todo)
        result = _start(pipeline)
        _refuse_to_wait_for_a_template(folder, options, counts_only=not shards)
        with cancelling(result, options):
            result.wait_until_finish()
    metrics.record(output_folder(options), folder, options.view_as(StandardOptions).runner, result, todo)


def _start(pipeline: beam.Pipeline) -> PipelineResult:
    """Run a pipeline; the local runner returns when it has ended.

    Raises KeyboardInterrupt if that was raised in a step: Beam raises an error of the step in its place.
    """
    try:
        return pipeline.run()
    except Exception as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


def with_last_step(build: Build, folder: StageFolder, after: AfterManifest) -> Build:
    """Add the step that finishes the stage. It runs once all shards are written: if one fails, the job fails before."""

    def build_all(pipeline: beam.Pipeline, todo: list[int]) -> PCollection[Any]:
        written = beam.pvalue.AsIter(build(pipeline, todo))  # a side input is there once it is complete
        once = pipeline | "Once" >> beam.Create([0])
        finished: PCollection[None] = once | "Finish" >> beam.Map(lambda _, _written: _finish(folder, after), written)
        return finished

    return build_all


def _finish(folder: StageFolder, after: AfterManifest) -> None:
    folder.finish()
    after(folder)


def _todo(folder: StageFolder, shards: int) -> list[int]:
    done = folder.done()
    return [shard for shard in range(shards) if shard not in done]


def _dry_run(
    folder: StageFolder,
    plan: AnyPlan,
    options: PipelineOptions,
    build: Build,
    *,
    resume: bool,
) -> Manifest[AnyPlan]:
    """Return the manifest of a finished stage; otherwise write the pipeline and raise NotRunError, which says where."""
    if folder.may_begin(plan, resume=resume) and folder.is_finished():
        return folder.manifest(type(plan))
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=options)  # any runner will do: nothing is run
    todo = _todo(folder, plan.shards)
    build(pipeline, todo)
    file = storage.join(output_folder(options), "dry_run", f"{folder.stage}.pb")
    raise NotRunError(f"{folder.stage}: {len(todo)} of {plan.shards} shards to do\n{describe(pipeline, options, file)}")


def _refuse_to_wait_for_a_template(folder: StageFolder, options: PipelineOptions, *, counts_only: bool) -> None:
    """Raise NotRunError if Beam has only written a template, which is started after this program has ended."""
    template = options.view_as(GoogleCloudOptions).template_location
    if template:
        then = "finishes the stage. Start the next stage"
        if counts_only:
            then = "reads the pages. Repeat this command with --resume"
        raise NotRunError(f"{folder.stage}: written to {template}; its job {then} after that")


def _pipeline(options: PipelineOptions) -> beam.Pipeline:
    """Return an empty pipeline. Raises UserError if options of the runner or its packages are missing."""
    if options.view_as(StandardOptions).runner == DATAFLOW_RUNNER:
        _require_dataflow(options)
    try:
        return beam.Pipeline(runner=runner(options), options=options)
    except ValueError as error:  # one line per missing option, below a heading
        raise UserError("; ".join(str(error).splitlines()[1:]) or str(error)) from error


def _require_dataflow(options: PipelineOptions) -> None:
    if find_spec("apitools") is None:
        raise UserError(f"--runner {DATAFLOW_RUNNER}: packages are missing: pip install 'mmc4-pipeline[dataflow]'")
    if not (options.view_as(WorkerOptions).sdk_container_image or options.view_as(SetupOptions).setup_file):
        raise UserError(
            "--sdk_container_image is missing: workers need an image that contains mmc4-pipeline; docs/dataflow.md "
            "says how to build it"
        )


def refuse_nothing_kept(folder: StageFolder, manifest: Manifest[Any], could: str, remedy: str) -> None:
    """Raise UserError if a stage dropped every document, with one of them as an example and with a remedy."""
    counts = manifest.counts["documents"]
    if counts.kept:
        return
    names = manifest.names_of("rejects")
    rejects = (reject for name in names for reject in storage.read_records(folder.file(name), RejectedDocument))
    first = next(rejects, None)
    example = f"; the first is {first.url or 'without URL'} ({first.source}): {first.detail}" if first else ""
    raise UserError(f"none of the {counts.seen} documents could {could}{example}. {remedy}")
