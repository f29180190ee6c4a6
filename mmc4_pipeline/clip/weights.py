"""Find and load CLIP models: any of open_clip's, with weights by tag, from a local file, or random if requested."""

import warnings
from pathlib import Path
from typing import Any

import open_clip
import orjson
import torch

from mmc4_pipeline.clip.tokens import load_tokenizer
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.clip_choice import RANDOM, ClipChoice
from mmc4_pipeline.models.folder import clip_weights, identify, published_clip

_CONFIG_KEYS = ("embed_dim", "vision_cfg", "text_cfg")


def require_weights(choice: ClipChoice) -> None:
    """Check that the model and its weights are available, downloading them if necessary.

    Raises UserError if they are not.
    """
    _register(choice)
    load_tokenizer(choice)
    if choice.pretrained == RANDOM:
        return
    if file := clip_weights(choice):
        identify(file)
        return
    config = open_clip.get_pretrained_cfg(choice.model_name, choice.pretrained)
    if not config:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(choice.model_name)) or "none"
        raise UserError(
            f"--clip_pretrained {choice.pretrained}: neither a file nor a tag that open_clip knows for "
            f"{choice.model_name} (it knows: {tags})"
        )
    try:
        open_clip.download_pretrained(config)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--clip_pretrained {choice.pretrained}: the weights of {choice.model_name} cannot be downloaded "
            f"({reason}). {_by_hand(choice, config)}. To try the pipeline without meaningful similarities: "
            "--clip_pretrained random"
        ) from error


def _by_hand(choice: ClipChoice, config: dict[str, Any]) -> str:
    """Return how to bring the weights to a machine without a connection."""
    if published_clip(choice):
        return "Run `mmc4 models fetch` for its recipe: it resumes a download, and prints which file to put where"
    quick = f" --clip_model {choice.model_name.removesuffix('-quickgelu')}-quickgelu" if _is_quick(config) else ""
    return f"Download them on a machine with a connection and pass the file:{quick} --clip_pretrained PATH"


def _is_quick(config: dict[str, Any]) -> bool:
    """Return whether the weights were trained with QuickGELU: open_clip only warns if a model computes without it."""
    return bool(config.get("quick_gelu"))


def feature_width(choice: ClipChoice) -> int:
    """Return the number of features of a model, from its config alone."""
    _register(choice)
    return int(open_clip.get_model_config(choice.model_name)["embed_dim"])


def load(choice: ClipChoice, device: str) -> tuple[Any, Any]:
    """Return open_clip's model and its transforms for inference. Raises UserError if the weights do not fit it."""
    _register(choice)
    torch.manual_seed(0)  # "random" weights must be the same in every run
    file = clip_weights(choice)
    published = file is not None and identify(file) in [clip for clip, _ in catalogue.openai_clips()]
    pretrained = None if choice.pretrained == RANDOM or published else file or choice.pretrained
    quick = published or _is_quick(open_clip.get_pretrained_cfg(choice.model_name, choice.pretrained))
    try:
        model, _, transform = open_clip.create_model_and_transforms(
            choice.model_name, pretrained, device=device, force_quick_gelu=quick
        )
        if file and published:
            model.load_state_dict(_openai_weights(file))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--clip_pretrained {choice.pretrained}: does not fit --clip_model {choice.model} ({reason})"
        ) from error
    return model, transform


def _openai_weights(path: str) -> dict[str, torch.Tensor]:
    """Read the weights of OpenAI's own file, a TorchScript archive, which open_clip no longer reads.

    The caller has checked the file's sha256.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that TorchScript is deprecated
        weights = dict(torch.jit.load(path, map_location="cpu").state_dict())  # type: ignore[no-untyped-call]
    for name in ("input_resolution", "context_length", "vocab_size"):
        weights.pop(name, None)
    return weights


def _register(choice: ClipChoice) -> None:
    """Make the model known to open_clip. Raises UserError if open_clip does not have it or the config is invalid."""
    if choice.model.endswith(".json"):
        _check_config(choice.model)
        open_clip.add_model_config(Path(choice.model))
    if choice.model_name not in open_clip.list_models():
        raise UserError(f"--clip_model {choice.model}: open_clip has no such model; see open_clip.list_models()")


def _check_config(path: str) -> None:
    """Check a config before open_clip does: open_clip would read an invalid one again for every other model."""
    if not Path(path).is_file():
        raise UserError(f"--clip_model {path}: no such file")
    try:
        config = orjson.loads(Path(path).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise UserError(f"--clip_model {path}: not valid JSON ({error})") from error
    missing = [key for key in _CONFIG_KEYS if not isinstance(config, dict) or key not in config]
    if missing:
        raise UserError(f"--clip_model {path}: not a config of an open_clip model: it has no {missing[0]!r}")
