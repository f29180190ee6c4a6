"""What a command line asks for, as the settings of each stage; all of it is checked before anything runs."""

from dataclasses import replace
from math import inf
from os import cpu_count
from typing import TYPE_CHECKING

from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.transforms.resources import MinRamHint

from beam_jobs.command_line import (
    DATAFLOW_RUNNER,
    CommonOptions,
    DatasetOptions,
    ImagesOptions,
    LocateOptions,
    ScoreOptions,
    ScoreWorkersOptions,
    WebOptions,
)
from beam_jobs.engines import LOCAL_RUNNER
from mmc4_pipeline.clip.settings import ScorerSettings
from mmc4_pipeline.dataset.write_shards import DatasetSettings
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.formats.registry import parse_formats
from mmc4_pipeline.images.by_img2dataset import version_of
from mmc4_pipeline.images.fetching.fetch import FetchSettings
from mmc4_pipeline.images.fetching.robots import has_contact
from mmc4_pipeline.images.img2dataset_shards import shard_files
from mmc4_pipeline.models.clip_choice import ClipChoice
from mmc4_pipeline.models.folder import default_nsfw_weights
from mmc4_pipeline.recipe import Recipe, load_recipe
from mmc4_pipeline.storage import HttpSettings, Inputs

if TYPE_CHECKING:
    from mmc4_pipeline.images.faces import FaceDetector


def recipe_of(options: PipelineOptions) -> Recipe:
    """Give the recipe that the command line asks for; raises UserError."""
    common = options.view_as(CommonOptions)
    recipe = load_recipe(common.recipe, tuple(common.set))
    crawl, assignment = options.view_as(LocateOptions).crawl, options.view_as(DatasetOptions).assignment
    return replace(recipe, crawl=crawl or recipe.crawl, assignment=assignment or recipe.assignment)


def dataset_settings(options: PipelineOptions) -> DatasetSettings:
    """Give the formats and the size of shards; raises UserError for what can't be."""
    dataset = options.view_as(DatasetOptions)
    if dataset.shard_bytes < 1:
        message = f"--shard_bytes {dataset.shard_bytes}: must be at least 1"
        raise UserError(message)
    return DatasetSettings(parse_formats(dataset.formats), dataset.shard_bytes)


def http_settings(options: PipelineOptions) -> HttpSettings:
    """Give the manners towards Common Crawl; raises UserError for a number of requests that is none."""
    web = options.view_as(WebOptions)
    if not web.cc_requests_per_second > 0:
        message = "--cc_requests_per_second: must be more than 0"
        raise UserError(message)
    return HttpSettings(web.fetch_user_agent, web.cc_requests_per_second)


def fetch_settings(options: PipelineOptions) -> FetchSettings:
    """Give the settings of the fetcher; raises UserError for a route that is no template, and for who hides."""
    images = options.view_as(ImagesOptions)
    user_agent = options.view_as(WebOptions).fetch_user_agent
    if not (has_contact(user_agent) or images.allow_private_hosts or images.images_from):
        message = (
            f"--fetch_user_agent {user_agent!r}: says nobody whom a site can reach; put your web or e-mail address in "
            "it, as in 'my-dataset/1.0 (+https://example.org/contact)'"
        )
        raise UserError(message)
    _refuse_other_sources(images, Inputs(http_settings(options)))
    for flag in ("max_open_requests", "max_open_per_host"):
        if getattr(images, flag) < 1:
            message = f"--{flag} {getattr(images, flag)}: must be at least 1"
            raise UserError(message)
    for flag in ("delay_per_host", "shard_seconds"):
        if not getattr(images, flag) >= 0:
            message = f"--{flag} {getattr(images, flag)}: must be 0 or more"
            raise UserError(message)
    for route in images.image_routes:
        try:
            route.format(url="", timestamp="")
        except (KeyError, ValueError, IndexError) as error:
            message = f"--image_routes {route}: only {{url}} and {{timestamp}} are filled in"
            raise UserError(message) from error
        if "{url}" not in route:
            message = f"--image_routes {route}: must have {{url}} in it"
            raise UserError(message)
    return FetchSettings(
        routes=tuple(images.image_routes),
        user_agent=user_agent,
        timeout=images.fetch_timeout,
        max_bytes=images.max_image_bytes,
        max_open=images.max_open_requests,
        max_open_per_host=images.max_open_per_host,
        delay_per_host=images.delay_per_host,
        shard_seconds=images.shard_seconds or inf,
        robots_txt=not images.ignore_robots_txt,
        allow_private_hosts=images.allow_private_hosts,
    )


def _refuse_other_sources(images: ImagesOptions, inputs: Inputs) -> None:
    """Raise UserError where images can't come from where the command line says."""
    shard_files(inputs, images.images_from)
    if images.fetch_engine != "img2dataset":
        return
    if images.images_from:
        message = "--images_from: nothing is fetched then; leave out --fetch_engine, or --images_from"
        raise UserError(message)
    if not images.ignore_robots_txt:
        message = "--fetch_engine img2dataset: asks for no robots.txt; if you mean that, say --ignore_robots_txt too"
        raise UserError(message)
    version_of(images.img2dataset_python)


def face_detector(options: PipelineOptions) -> "FaceDetector | None":
    """Give what looks for faces in every image; None where the recipe does not. Raises UserError."""
    from mmc4_pipeline.images.faces import find_detector

    settings = recipe_of(options).face_detector
    return (
        find_detector(settings, options.view_as(ImagesOptions).face_detector_weights) if settings.every_image else None
    )


def scorer_settings(options: PipelineOptions) -> ScorerSettings:
    """Give the settings of the scorer: where the recipe needs an NSFW head and none is given, the fetched one."""
    score = options.view_as(ScoreOptions)
    clip = ClipChoice(score.clip_model, score.clip_pretrained)
    nsfw = score.nsfw_weights or default_nsfw_weights(recipe_of(options), clip)
    return ScorerSettings(
        clip,
        nsfw,
        score.face_weights,
        score.device,
        precision=score.precision,
        compiled=score.torch_compile,
        processes=_processes_on_a_machine(options),
    )


def _processes_on_a_machine(options: PipelineOptions) -> int:
    """Give how many worker processes a machine has where the command line says so, else 1."""
    if options.view_as(StandardOptions).runner == LOCAL_RUNNER:
        direct = options.view_as(DirectOptions)
        threads = direct.direct_running_mode == "multi_threading"
        return 1 if threads else int(direct.direct_num_workers or cpu_count() or 1)
    return max(1, int(options.view_as(PortableOptions).sdk_worker_parallelism))


def score_hints(options: PipelineOptions) -> dict[str, str]:
    """Give Beam's resource hints for what holds the model; none where the runner is not Dataflow.

    Elsewhere they would keep steps from being fused. Raises UserError for what no runner would heed.
    """
    workers, runner = options.view_as(ScoreWorkersOptions), options.view_as(StandardOptions).runner
    given = [name for name in ("gpu_type", "gpu_count", "min_ram") if getattr(workers, name) is not None]
    message = ""
    if given and runner != DATAFLOW_RUNNER:
        message = f"--{given[0]}: only Dataflow heeds it; leave it out, or give --runner {DATAFLOW_RUNNER}"
    elif workers.gpu_count is not None and not (workers.gpu_type and workers.gpu_count > 0):
        message = "--gpu_count: must be at least 1, and needs --gpu_type"
    elif workers.min_ram and not _is_size(workers.min_ram):
        message = f"--min_ram {workers.min_ram}: give a size with its unit, as in 16GB"
    if message:
        raise UserError(message)
    gpu = f"type:{workers.gpu_type};count:{workers.gpu_count or 1};install-nvidia-driver"
    hints = {"accelerator": gpu if workers.gpu_type else "", "min_ram": workers.min_ram or ""}
    return {name: value for name, value in hints.items() if value}


def _is_size(text: str) -> bool:
    try:
        MinRamHint.parse(text)
    except ValueError:
        return False
    return True
