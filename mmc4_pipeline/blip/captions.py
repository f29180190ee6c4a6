"""Captions by BLIP-2: the most probable next word each time, so that an image has the same caption in every run."""

from typing import Any

import torch
from torch.nn.functional import pad

from mmc4_pipeline.blip.device import Device
from mmc4_pipeline.clip.memory import HalvingBatches

_CPU_IMAGES, _CUDA_IMAGES = 2, 64


class CaptionModel:
    """Blip2ForConditionalGeneration and its processor on a device. Only one thread at a time may use it."""

    def __init__(self, model: Any, processor: Any, device: Device, max_new_tokens: int) -> None:
        self._model = model.eval().requires_grad_(requires_grad=False).to(device.device)
        self.processor = processor
        self.device = device
        self._tokens = max_new_tokens
        self._images = HalvingBatches(self._generated, _CUDA_IMAGES if device.on_cuda else _CPU_IMAGES)

    def captions(self, pixels: torch.Tensor) -> list[str]:
        """Return a caption for each image, of shape (images, 3, height, width), in one line; it may be empty."""
        parts = self.device.map(self._images, torch.split(pixels, self._images.batch_size))
        tokens = torch.cat(list(parts)).cpu()
        texts = self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _generated(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return tokens of a fixed length, padded after each caption's end; those before it are special ones."""
        with torch.inference_mode():
            tokens: torch.Tensor = self._model.generate(
                pixel_values=pixels.to(self.device.device, self.device.dtype),
                max_new_tokens=self._tokens,
                do_sample=False,
                num_beams=1,
            )
        longest = self._model.config.num_query_tokens + 1 + self._tokens
        return pad(tokens, (0, longest - tokens.shape[1]), value=self.processor.tokenizer.pad_token_id)
