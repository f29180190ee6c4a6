"""Compute L2-normalised CLIP features of images and sentences on a device."""

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from PIL import Image as PillowImage

from mmc4_pipeline.clip.attention import fuse_attention
from mmc4_pipeline.clip.cores import Cores
from mmc4_pipeline.clip.memory import HalvingBatches, rows_that_fit
from mmc4_pipeline.clip.pixels import Pixels
from mmc4_pipeline.clip.precision import find_precision, name_of
from mmc4_pipeline.clip.settings import Precision
from mmc4_pipeline.clip.tokens import load_tokenizer
from mmc4_pipeline.clip.weights import feature_width, load
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.clip_choice import ClipChoice

Features = npt.NDArray[np.float32]

# Batch sizes: per core what was measured to be fastest (larger is slower); on CUDA enough to fill any device, if its
# memory allows.
CPU_IMAGES, CPU_TOKENS = 16, 1 << 10
CUDA_IMAGES, CUDA_TOKENS = 256, 1 << 16


def find_device(wanted: str) -> str:
    """Return the device to compute on: for "auto" CUDA if there is one, else the CPU."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


class ClipModel:
    """A CLIP model on a device. Only one thread at a time may use it."""

    def __init__(
        self,
        choice: ClipChoice,
        device: str,
        precision: Precision = "fp32",
        *,
        compiled: bool = False,
        cores: int | None = None,
    ) -> None:
        """Load the model. Raises UserError if the weights do not fit it.

        With "fp16" everything is computed in fp16. With "bf16" only the image tower's products are: in bf16 the
        similarities of sentences would differ from those in float32 by more than 0.005. `compiled` lets torch.compile
        fuse the image tower for full batches: faster on CUDA, after a minute of compiling. `cores` is the number of
        CPU cores to use if the device is the CPU (None: all); the features are the same bytes for any number.
        """
        model, transform = load(choice, device)
        fuse_attention(model)
        self._dtype = find_precision(precision, device)
        self._weights = torch.float16 if self._dtype is torch.float16 else torch.float32
        self._model: Any = model.eval().requires_grad_(requires_grad=False).to(self._weights)
        self._width = feature_width(choice)
        self._device = torch.device(device)
        self._on_cuda = self._device.type == "cuda"
        # The reference is open_clip on a CPU in float32. In half precision faster, slightly different pixels cost less
        # accuracy than the precision itself.
        self.pixels = Pixels(transform, exact=self._dtype is torch.float32 or not self._on_cuda)
        self.tokenize = load_tokenizer(choice)
        self._compiled = compiled
        encode = torch.compile(self._encode_pixels, dynamic=False) if compiled else self._encode_pixels
        self._images = HalvingBatches(encode, self._image_batch_size())
        self._tokens_per_batch = CUDA_TOKENS if self._on_cuda else CPU_TOKENS
        self._cores = None if self._on_cuda else Cores(cores)
        self._copies = threading.local()

    @property
    def width(self) -> int:
        """The number of features of an image or a sentence."""
        return self._width

    @property
    def precision(self) -> str:
        """The number format: "fp32", "fp16" or "bf16"."""
        return name_of(self._dtype)

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        return self._device

    @property
    def batch_size(self) -> int:
        """The number of images in a full batch."""
        return self._images.batch_size * (self._cores.number if self._cores else 1)

    @property
    def logit_scale(self) -> float:
        """The trained factor by which similarities are multiplied before a softmax."""
        return float(self._model.logit_scale.exp())

    def image_features(self, images: Sequence[PillowImage.Image]) -> Features:
        """Return the features of images, of shape (images, width), each row of length 1."""
        if not images:
            return np.zeros((0, self._width), dtype=np.float32)
        return self.to_numpy(self.encode(torch.stack([self.pixels.of_image(image) for image in images])))

    def text_features(self, sentences: Sequence[str]) -> Features:
        """Return the features of sentences, of shape (sentences, width), each row of length 1.

        Sentences of similar length are computed together, padded only to the longest of them if the model allows it.
        """
        return self.token_features(self.tokenize(sentences))

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features, float32 on the model's device, of at least one image's pixels, uint8 from `Pixels`.

        On CUDA it returns before they are computed. Half precision may overflow: `to_numpy` checks that.
        """
        return _joined(self._side_by_side(self._encode_part, torch.split(pixels, self._images.batch_size)))

    def token_features(self, tokens: torch.Tensor) -> Features:
        """Return the features of tokenised sentences, whose shape is (sentences, the model's context length)."""
        features = np.zeros((len(tokens), self._width), dtype=np.float32)
        if not len(tokens):
            return features
        lengths = tokens.argmax(dim=1) + 1 if self._ignores_padding() else torch.full((len(tokens),), tokens.shape[1])
        order = torch.argsort(lengths, stable=True)
        batches = self._sentence_batches(tokens[order], lengths[order])
        features[order.numpy()] = self.to_numpy(_joined(self._side_by_side(self._encode_sentences, batches)))
        return features

    def to_numpy(self, features: torch.Tensor) -> Features:
        """Copy features from the device. Raises UserError if half precision has overflowed."""
        fetched: Features = features.float().cpu().numpy()
        if not np.isfinite(fetched).all():
            raise UserError(f"--precision {self.precision}: the features of this CLIP overflow; use bf16 or fp32")
        return fetched

    def _side_by_side(
        self, compute: Callable[[torch.Tensor], torch.Tensor], parts: Iterable[torch.Tensor]
    ) -> Iterator[torch.Tensor]:
        return self._cores.map(compute, parts) if self._cores else map(compute, parts)

    def _encode_part(self, pixels: torch.Tensor) -> torch.Tensor:
        count, full = len(pixels), self._images.batch_size
        if self._compiled and count % full:  # another size would be compiled again
            pixels = torch.cat([pixels, pixels.new_zeros(full - count % full, *pixels.shape[1:])])
        with torch.inference_mode():
            return self._images(pixels.to(self._device, non_blocking=True))[:count]

    def _sentence_batches(self, tokens: torch.Tensor, lengths: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield batches of sentences, whose lengths must ascend, each batch padded to its longest sentence."""
        start = 0
        while start < len(tokens):
            end = start + self._sentences_per_batch(lengths[start:])
            yield tokens[start:end, : int(lengths[end - 1])]
            start = end

    def _encode_sentences(self, tokens: torch.Tensor) -> torch.Tensor:
        count, length = tokens.shape
        most = min(count, max(1, self._tokens_per_batch // length))
        encode = HalvingBatches(self._encode_tokens, most)
        with torch.inference_mode():
            computed = encode(tokens.to(self._device))
        if encode.batch_size < most:
            self._tokens_per_batch = encode.batch_size * length
        return computed

    def _encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        normalized = self.pixels.normalized(pixels).to(self._weights)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._dtype is torch.bfloat16):
            features = self._model.encode_image(normalized)
        return torch.nn.functional.normalize(features.float(), dim=-1)

    def _encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the features of tokens of shape (sentences, length), up to the context length."""
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
        """Return this thread's copy of the modules, which shares the weights: functional_call changes its module."""
        if not hasattr(self._copies, "model"):
            weights = {id(tensor): tensor for tensor in chain(self._model.parameters(), self._model.buffers())}
            self._copies.model = copy.deepcopy(self._model, weights)
        model: torch.nn.Module = self._copies.model
        return model

    def _image_batch_size(self) -> int:
        if not self._on_cuda:
            return CPU_IMAGES
        shape = 1, 3, *_height_and_width(self._model.visual.image_size)
        row = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        with torch.inference_mode():
            return rows_that_fit(self._encode_pixels, row, CUDA_IMAGES)

    def _sentences_per_batch(self, lengths: torch.Tensor) -> int:
        """Return how many of the sentences, whose lengths must ascend, are computed together."""
        fits = torch.arange(1, len(lengths) + 1) * lengths <= self._tokens_per_batch
        return max(1, int(fits.sum()))  # the product ascends as well

    def _ignores_padding(self) -> bool:
        """Return whether tokens after a sentence's end token cannot change its features.

        That is so for CLIP's own text tower: its attention mask is causal, and the features are read at the end token,
        which has the highest number of all.
        """
        model = self._model
        return type(model) is open_clip.CLIP and model.attn_mask is not None and model.text_pool_type == "argmax"


def _joined(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    found = list(parts)
    return found[0] if len(found) == 1 else torch.cat(found)


def _height_and_width(size: int | Sequence[int]) -> Sequence[int]:
    return (size, size) if isinstance(size, int) else size
