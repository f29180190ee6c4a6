"""Options of the score stage."""

import argparse
from dataclasses import replace
from os import cpu_count
from typing import get_args

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, PortableOptions, StandardOptions
from apache_beam.transforms.resources import MinRamHint

from beam_jobs.engines import DATAFLOW_RUNNER, LOCAL_RUNNER
from beam_jobs.options.recipe import recipe_of
from mmc4_pipeline.arguments import add_clip
from mmc4_pipeline.clip.settings import Precision
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.folder import default_nsfw_weights
from mmc4_pipeline.recipe import Recipe
from mmc4_pipeline.scorers.clip import Clip
from mmc4_pipeline.scorers.registry import beside_clip, known_scorers, parse_scorers
from mmc4_pipeline.scoring.base import Machine, Scorer
from schemas.manifest import CLIP


class ScoreOptions(PipelineOptions):
    """The models that compute scores, and how."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("scores")
        group.add_argument(
            "--scorer",
            nargs="+",
            metavar="NAME",
            help=f"scorers to run, one or more of {', '.join(known_scorers())}; settings follow a colon, for example "
            "blip_itm:k=10 (default: clip, and those that the recipe lists)",
        )
        add_clip(group)
        group.add_argument(
            "--nsfw_weights",
            metavar="FILE",
            help="NSFW head for this CLIP model, in the format of nsfw_torch.pt (default: that file, if `mmc4 models "
            "fetch` stored it)",
        )
        group.add_argument(
            "--face_weights",
            metavar="FILE",
            help="face head for this CLIP model; `mmc4 train_faces` trains one (default: none)",
        )
        group.add_argument(
            "--precision",
            choices=get_args(Precision),
            default="auto",
            help="number format of the model; auto is fp16 on CUDA, bf16 on a CPU with AMX and fp32 on other CPUs "
            "(default: auto)",
        )
        group.add_argument(
            "--torch_compile",
            action="store_true",
            help="compile the image model: faster on CUDA, after one minute in each worker process",
        )
        group.add_argument(
            "--save_features",
            action="store_true",
            help="also write the image features: 1.5 kB per image for ViT-L-14",
        )


class ScoreWorkersOptions(PipelineOptions):
    """The machines that Dataflow gives to the step that holds the model, and to no other step."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("scores: workers on Dataflow")
        group.add_argument("--gpu_type", metavar="NAME", help="GPU type, for example nvidia-tesla-t4 (default: no GPU)")
        group.add_argument("--gpu_count", type=int, metavar="N", help="GPUs per worker (default: 1)")
        group.add_argument(
            "--min_ram", metavar="SIZE", help="minimum memory per worker, for example 16GB (default: Dataflow's)"
        )


def chosen_scorers(options: PipelineOptions) -> tuple[Scorer, ...]:
    """Return the scorers to run. Raises UserError if one is unknown or a setting can't be used.

    A recipe that needs an NSFW head gets the fetched one if none is given.
    """
    score, recipe = options.view_as(ScoreOptions), recipe_of(options)
    flags = {
        "model": score.clip_model,
        "pretrained": score.clip_pretrained,
        "nsfw_weights": score.nsfw_weights,
        "face_weights": score.face_weights,
        "precision": score.precision,
        "torch_compile": score.torch_compile,
        "save_features": score.save_features,
    }
    chosen = parse_scorers(score.scorer or [CLIP, *beside_clip(recipe.score_names)], flags)
    return tuple(_with_nsfw(item, recipe) if isinstance(item, Clip) else item for item in chosen)


def _with_nsfw(clip: Clip, recipe: Recipe) -> Clip:
    return replace(clip, nsfw_weights=clip.nsfw_weights or default_nsfw_weights(recipe, clip.choice))


def machine_of(options: PipelineOptions) -> Machine:
    """Return what scorers run on."""
    return Machine(options.view_as(ScoreOptions).device, _processes_per_machine(options))


def _processes_per_machine(options: PipelineOptions) -> int:
    """Return how many worker processes a machine has if the command line says so, else 1."""
    if options.view_as(StandardOptions).runner == LOCAL_RUNNER:
        direct = options.view_as(DirectOptions)
        threads = direct.direct_running_mode == "multi_threading"
        return 1 if threads else int(direct.direct_num_workers or cpu_count() or 1)
    return max(1, int(options.view_as(PortableOptions).sdk_worker_parallelism))


def score_hints(options: PipelineOptions) -> dict[str, str]:
    """Return Beam's resource hints for the step that holds the model; none on runners other than Dataflow.

    On the others they would prevent steps from being fused. Raises UserError for hints that no runner would honour.
    """
    workers, runner = options.view_as(ScoreWorkersOptions), options.view_as(StandardOptions).runner
    given = [name for name in ("gpu_type", "gpu_count", "min_ram") if getattr(workers, name) is not None]
    if given and runner != DATAFLOW_RUNNER:
        raise UserError(f"--{given[0]}: only Dataflow honours it; leave it out, or add --runner {DATAFLOW_RUNNER}")
    if workers.gpu_count is not None and not (workers.gpu_type and workers.gpu_count > 0):
        raise UserError("--gpu_count: must be at least 1, and requires --gpu_type")
    if workers.min_ram and not _is_size(workers.min_ram):
        raise UserError(f"--min_ram {workers.min_ram}: must be a size with its unit, for example 16GB")
    gpu = f"type:{workers.gpu_type};count:{workers.gpu_count or 1};install-nvidia-driver"
    hints = {"accelerator": gpu if workers.gpu_type else "", "min_ram": workers.min_ram or ""}
    return {name: value for name, value in hints.items() if value}


def _is_size(text: str) -> bool:
    try:
        MinRamHint.parse(text)
    except ValueError:
        return False
    return True
