"""CLIP models: any of open_clip's, with weights by name, from a local file, or random on explicit request."""

import copy
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import orjson
import torch
from PIL import Image as PillowImage

from mmc4_pipeline.clip.attention import fuse_attention
from mmc4_pipeline.clip.cores import Cores
from mmc4_pipeline.clip.memory import Halving, rows_that_fit
from mmc4_pipeline.clip.pixels import Pixels
from mmc4_pipeline.clip.precision import find_precision, name_of
from mmc4_pipeline.clip.settings import Precision
from mmc4_pipeline.clip.tokens import Tokenizer
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.clip_choice import RANDOM, ClipChoice
from mmc4_pipeline.models.folder import clip_weights, identify

Features = npt.NDArray[np.float32]

# Computed at once: by a core as measured (more is slower); by CUDA enough to fill any device, if its memory allows.
CPU_IMAGES, CPU_TOKENS = 16, 1 << 10
CUDA_IMAGES, CUDA_TOKENS = 256, 1 << 16


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


def _load(choice: ClipChoice, device: str) -> tuple[Any, Any]:
    """Give open_clip's model and its transforms for inference; raises UserError where the weights don't fit it."""
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
    return model, transform


class ClipModel:
    """A CLIP model on a device, ready to give L2-normalised features. Not for several threads at once."""

    def __init__(
        self,
        choice: ClipChoice,
        device: str,
        precision: Precision = "fp32",
        *,
        compiled: bool = False,
        cores: int | None = None,
    ) -> None:
        """Load the model; raises UserError where the weights don't fit it.

        With "fp16" all is in fp16. With "bf16" only the products for images are: sentences would get similarities more
        than 0.005 from those in float32. `compiled` has torch.compile fuse the image tower for full batches: faster on
        CUDA, a minute to begin with. `cores` are those of the CPU to compute on where it is the device (None: all); the
        features are the same bytes for any number of them.
        """
        model, transform = _load(choice, device)
        fuse_attention(model)
        self._dtype = find_precision(precision, device)
        self._weights = torch.float16 if self._dtype is torch.float16 else torch.float32
        self._model: Any = model.eval().requires_grad_(requires_grad=False).to(self._weights)
        self._width = feature_width(choice)
        self._device = torch.device(device)
        self._on_cuda = self._device.type == "cuda"
        # The reference is open_clip on a CPU in float32; what half precision costs anyway may be spent on speed.
        self.pixels = Pixels(transform, exact=self._dtype is torch.float32 or not self._on_cuda)
        self.tokenize = Tokenizer(open_clip.get_tokenizer(choice.model_name))
        self._compiled = compiled
        encode = torch.compile(self._encode_pixels, dynamic=False) if compiled else self._encode_pixels
        self._images = Halving(encode, self._images_at_once())
        self._tokens_at_once = CUDA_TOKENS if self._on_cuda else CPU_TOKENS
        self._cores = None if self._on_cuda else Cores(cores)
        self._copies = threading.local()

    @property
    def width(self) -> int:
        """The number of features."""
        return self._width

    @property
    def precision(self) -> str:
        """What it computes in: "fp32", "fp16" or "bf16"."""
        return name_of(self._dtype)

    @property
    def device(self) -> torch.device:
        """What it computes on."""
        return self._device

    @property
    def images_at_once(self) -> int:
        """The number of images in a full batch."""
        return self._images.most * (self._cores.number if self._cores else 1)

    @property
    def logit_scale(self) -> float:
        """What the model multiplies similarities by before a softmax, as it was trained."""
        return float(self._model.logit_scale.exp())

    def image_features(self, images: Sequence[PillowImage.Image]) -> Features:
        """Give the features of some images, of shape (images, width), each of length 1."""
        if not images:
            return np.zeros((0, self._width), dtype=np.float32)
        return self.to_numpy(self.encode(torch.stack([self.pixels.of_image(image) for image in images])))

    def text_features(self, sentences: Sequence[str]) -> Features:
        """Give the features of some sentences, of shape (sentences, width), each of length 1.

        Sentences of like length are computed together and cut to the longest of them, where the model allows it.
        """
        return self.token_features(self.tokenize(sentences))

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Give the features, float32 on the model's device, of at least one image's pixels, uint8 as Pixels has them.

        On CUDA it returns before they are computed. Half precision may overflow: `to_numpy` looks.
        """
        return _joined(self._side_by_side(self._encode_part, torch.split(pixels, self._images.most)))

    def token_features(self, tokens: torch.Tensor) -> Features:
        """Give the features of tokenised sentences of shape (sentences, the model's context length)."""
        features = np.zeros((len(tokens), self._width), dtype=np.float32)
        if not len(tokens):
            return features
        lengths = tokens.argmax(dim=1) + 1 if self._ignores_padding() else torch.full((len(tokens),), tokens.shape[1])
        order = torch.argsort(lengths, stable=True)
        batches = self._alike(tokens[order], lengths[order])
        features[order.numpy()] = self.to_numpy(_joined(self._side_by_side(self._encode_sentences, batches)))
        return features

    def to_numpy(self, features: torch.Tensor) -> Features:
        """Fetch features from the device; raises UserError where half precision has overflowed."""
        fetched: Features = features.float().cpu().numpy()
        if not np.isfinite(fetched).all():
            message = f"--precision {self.precision}: this CLIP's features are no numbers in it; take bf16 or fp32"
            raise UserError(message)
        return fetched

    def _side_by_side(
        self, compute: Callable[[torch.Tensor], torch.Tensor], parts: Iterable[torch.Tensor]
    ) -> Iterator[torch.Tensor]:
        return self._cores.map(compute, parts) if self._cores else map(compute, parts)

    def _encode_part(self, pixels: torch.Tensor) -> torch.Tensor:
        count, full = len(pixels), self._images.most
        if self._compiled and count % full:  # another size would be compiled anew
            pixels = torch.cat([pixels, pixels.new_zeros(full - count % full, *pixels.shape[1:])])
        with torch.inference_mode():
            return self._images(pixels.to(self._device, non_blocking=True))[:count]

    def _alike(self, tokens: torch.Tensor, lengths: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield batches of sentences, whose lengths ascend, each batch cut to its longest."""
        start = 0
        while start < len(tokens):
            end = start + self._sentences_at_once(lengths[start:])
            yield tokens[start:end, : int(lengths[end - 1])]
            start = end

    def _encode_sentences(self, tokens: torch.Tensor) -> torch.Tensor:
        count, length = tokens.shape
        most = min(count, max(1, self._tokens_at_once // length))
        encode = Halving(self._encode_tokens, most)
        with torch.inference_mode():
            computed = encode(tokens.to(self._device))
        if encode.most < most:
            self._tokens_at_once = encode.most * length
        return computed

    def _encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        normalized = self.pixels.normalized(pixels).to(self._weights)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._dtype is torch.bfloat16):
            features = self._model.encode_image(normalized)
        return torch.nn.functional.normalize(features.float(), dim=-1)

    def _encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
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
        output = torch.func.functional_call(self._own_copy(), shorter, (None, tokens))
        features = output["text_features"] if isinstance(output, dict) else output[1]
        return torch.nn.functional.normalize(features.float(), dim=-1)

    def _own_copy(self) -> torch.nn.Module:
        """Give this thread's copy of the modules, over the same weights: functional_call changes a module meanwhile."""
        if not hasattr(self._copies, "model"):
            weights = {id(tensor): tensor for tensor in chain(self._model.parameters(), self._model.buffers())}
            self._copies.model = copy.deepcopy(self._model, weights)
        model: torch.nn.Module = self._copies.model
        return model

    def _images_at_once(self) -> int:
        if not self._on_cuda:
            return CPU_IMAGES
        row = torch.zeros((1, 3, *_two(self._model.visual.image_size)), dtype=torch.uint8, device=self._device)
        with torch.inference_mode():
            return rows_that_fit(self._encode_pixels, row, CUDA_IMAGES)

    def _sentences_at_once(self, lengths: torch.Tensor) -> int:
        """Give how many of the sentences, whose lengths ascend, are computed together."""
        fits = torch.arange(1, len(lengths) + 1) * lengths <= self._tokens_at_once
        return max(1, int(fits.sum()))  # the product ascends as well

    def _ignores_padding(self) -> bool:
        """Whether what stands after a sentence's end token can't change its feature.

        True of CLIP's own text tower: its attention mask is causal, and the feature is read at the end token, which
        has the highest number of all.
        """
        model = self._model
        return type(model) is open_clip.CLIP and model.attn_mask is not None and model.text_pool_type == "argmax"


def _joined(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    found = list(parts)
    return found[0] if len(found) == 1 else torch.cat(found)


def _two(size: int | Sequence[int]) -> Sequence[int]:
    return (size, size) if isinstance(size, int) else size
