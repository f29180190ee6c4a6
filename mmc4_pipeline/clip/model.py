"""CLIP models: any of open_clip's, with weights by name, from a local file, or random on explicit request."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import orjson
import torch
from PIL import Image as PillowImage

from mmc4_pipeline.clip.settings import RANDOM, ClipChoice
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.folder import clip_weights, identify

Features = npt.NDArray[np.float32]
SENTENCE_BATCH = 32


def require_weights(choice: ClipChoice) -> None:
    """Make sure that the model and its weights can be had, downloading them if need be; raises UserError."""
    _register(choice)
    if choice.pretrained == RANDOM:
        return
    if file := clip_weights(choice):
        identify(file)
        return
    config = open_clip.get_pretrained_cfg(choice.model_name, choice.pretrained)
    if not config:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(choice.model_name)) or "none"
        message = (
            f"--clip_pretrained {choice.pretrained}: neither a file nor weights that open_clip knows for "
            f"{choice.model_name} (it knows: {tags})"
        )
        raise UserError(message)
    try:
        open_clip.download_pretrained(config)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        message = (
            f"--clip_pretrained {choice.pretrained}: no weights of {choice.model_name} can be downloaded ({reason}). "
            f"{_by_hand(choice, config)}; to try the pipeline without meaningful similarities: --clip_pretrained random"
        )
        raise UserError(message) from error


def _by_hand(choice: ClipChoice, config: dict[str, Any]) -> str:
    """Say how to get weights to a machine without a connection."""
    if choice.identity() == catalogue.CLIP_IDENTITY:
        return "Run `mmc4 models fetch`: it goes on where it was cut off, and says which file to put where"
    quick = f" --clip_model {choice.model_name.removesuffix('-quickgelu')}-quickgelu" if _is_quick(config) else ""
    return f"Download them on a machine with a connection and give the file:{quick} --clip_pretrained PATH"


def _is_quick(config: dict[str, Any]) -> bool:
    """Whether weights were trained with QuickGELU: open_clip only warns where a model computes with another one."""
    return bool(config.get("quick_gelu"))


def _register(choice: ClipChoice) -> None:
    if choice.model.endswith(".json"):
        if not Path(choice.model).is_file():
            message = f"--clip_model {choice.model}: no such file"
            raise UserError(message)
        _refuse_what_is_no_config(choice.model)
        open_clip.add_model_config(Path(choice.model))
    if choice.model_name not in open_clip.list_models():
        message = f"--clip_model {choice.model}: open_clip has no such model; see open_clip.list_models()"
        raise UserError(message)


def _refuse_what_is_no_config(path: str) -> None:
    """Check a config before open_clip does: it would read a broken one again for every other model."""
    try:
        config = orjson.loads(Path(path).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        message = f"--clip_model {path}: not readable as JSON ({error})"
        raise UserError(message) from error
    missing = [
        key for key in ("embed_dim", "vision_cfg", "text_cfg") if not isinstance(config, dict) or key not in config
    ]
    if missing:
        message = f"--clip_model {path}: no config of an open_clip model, it lacks {missing[0]!r}"
        raise UserError(message)


def feature_width(choice: ClipChoice) -> int:
    """Give the number of features of a model, from its config alone."""
    _register(choice)
    return int(open_clip.get_model_config(choice.model_name)["embed_dim"])


def find_device(wanted: str) -> str:
    """Give the device to compute on: for "auto" CUDA where there is one, else the CPU."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def _openai_weights(path: str) -> dict[str, torch.Tensor]:
    """Read a file of OpenAI's, whose sha256 is known: a TorchScript archive, which open_clip no longer reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that TorchScript is deprecated
        weights = dict(torch.jit.load(path, map_location="cpu").state_dict())  # type: ignore[no-untyped-call]
    for name in ("input_resolution", "context_length", "vocab_size"):
        weights.pop(name, None)
    return weights


class ClipModel:
    """A CLIP model on a device, ready to give L2-normalised features."""

    def __init__(self, choice: ClipChoice, device: str) -> None:
        """Load the model; raises UserError where the weights don't fit it."""
        _register(choice)
        torch.manual_seed(0)  # what "random" means must not change from run to run
        file = clip_weights(choice)
        published = file is not None and identify(file) == catalogue.CLIP
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
            message = f"--clip_pretrained {choice.pretrained}: does not fit --clip_model {choice.model} ({reason})"
            raise UserError(message) from error
        self._model: Any = model.eval()
        self._width = feature_width(choice)
        self._transform: Any = transform
        self._tokenize = open_clip.get_tokenizer(choice.model_name)
        self._device = device

    @property
    def width(self) -> int:
        """The number of features."""
        return self._width

    def image_features(self, images: list[PillowImage.Image]) -> Features:
        """Give the features of some images, of shape (images, width), each of length 1."""
        batch = torch.stack([self._transform(image) for image in images]).to(self._device)
        with torch.inference_mode():
            return self._numpy(self._model.encode_image(batch, normalize=True))

    def text_features(self, sentences: list[str]) -> Features:
        """Give the features of some sentences, of shape (sentences, width), each of length 1.

        Sentences of like length are computed together and cut to the longest of them, where the model allows it.
        """
        features = np.zeros((len(sentences), self._width), dtype=np.float32)
        if not sentences:
            return features
        tokens = self._tokenize(sentences)
        lengths = tokens.argmax(dim=1) + 1 if self._ignores_padding() else torch.full((len(tokens),), tokens.shape[1])
        order = torch.argsort(lengths, stable=True)
        for batch in torch.split(order, SENTENCE_BATCH):
            features[batch.numpy()] = self._text_batch(tokens[batch, : int(lengths[batch].max())])
        return features

    def _ignores_padding(self) -> bool:
        """Whether what stands after a sentence's end token can't change its feature.

        True of CLIP's own text tower: its attention mask is causal, and the feature is read at the end token, which
        has the highest number of all.
        """
        model = self._model
        return type(model) is open_clip.CLIP and model.attn_mask is not None and model.text_pool_type == "argmax"

    def _text_batch(self, tokens: torch.Tensor) -> Features:
        """Give the features of tokens of shape (sentences, length), where length may be below the model's own."""
        length = tokens.shape[1]
        shorter = (
            {
                "positional_embedding": self._model.positional_embedding[:length],
                "attn_mask": self._model.attn_mask[:length, :length],
            }
            if self._ignores_padding()
            else {}
        )
        with torch.inference_mode():
            output = torch.func.functional_call(self._model, shorter, (None, tokens.to(self._device)))
        return self._numpy(output["text_features"] if isinstance(output, dict) else output[1])

    @staticmethod
    def _numpy(features: torch.Tensor) -> Features:
        return features.float().cpu().numpy()
