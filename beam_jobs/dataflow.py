"""Defaults for the options of Dataflow, from what each stage does, and warnings where a default cannot be right."""

import logging
from copy import deepcopy

from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, WorkerOptions

from beam_jobs.engines import on_dataflow, processes_per_machine
from schemas.reasons import Stage

_READS_COMMON_CRAWL = (Stage.LOCATE, Stage.PAGES)
_WAITS = (Stage.PAGES, Stage.IMAGES)  # for servers, most of the time
_DISK = 40  # GB for the operating system and the container image
_DISK_PER_PROCESS = 10  # GB for the temporary files of the images stage

_log = logging.getLogger(__name__)


def options_for(stage: Stage, given: PipelineOptions) -> PipelineOptions:
    """Return the options for a stage: the given ones, and what the user has left open; other engines need nothing.

    Warns about a number of workers that does not fit. Dataflow may remove workers that use less than 5% of their CPU,
    so a stage that waits needs a fixed number (https://cloud.google.com/dataflow/docs/horizontal-autoscaling).
    """
    if not on_dataflow(given):
        return given
    options = deepcopy(given)  # a build runs its other stages with the given ones
    workers, setup = options.view_as(WorkerOptions), options.view_as(SetupOptions)
    if workers.sdk_container_image and setup.sdk_location == "default":
        setup.sdk_location = "container"  # the image has Beam; otherwise the launching machine would download it
    if stage == Stage.IMAGES and workers.disk_size_gb is None:
        workers.disk_size_gb = _DISK + _DISK_PER_PROCESS * processes_per_machine(options)
    if stage in _WAITS and workers.num_workers and workers.autoscaling_algorithm is None:
        workers.autoscaling_algorithm = "NONE"
    if stage in _WAITS and workers.autoscaling_algorithm != "NONE":
        _log.warning(
            "%s: waits for servers most of the time, so Dataflow's autoscaling, which goes by CPU, removes workers; "
            "give their number with --num_workers",
            stage,
        )
    if stage in _READS_COMMON_CRAWL and not (workers.num_workers or workers.max_num_workers):
        _log.warning(
            "%s: each worker process sends up to --cc_requests_per_second, because the number of workers is unknown; "
            "give it with --num_workers or --max_num_workers",
            stage,
        )
    return options
