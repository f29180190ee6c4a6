"""BLIP's image-text matching: whether a sentence is about an image, by a model that reads both together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import normalize

from mmc4_pipeline.blip.device import Device
from mmc4_pipeline.clip.memory import HalvingBatches
from mmc4_pipeline.scoring.picture import Picture
from mmc4_pipeline.scoring.shard import Place

# To which BLIP's own code truncates sentences: `max_txt_len` in lavis/models/blip_models/blip_image_text_matching.py of
# github.com/salesforce/LAVIS.
MAX_TOKENS = 35
_CPU_IMAGES, _CPU_PAIRS = 1, 8  # so small that a group is enough for many cores
_CUDA_IMAGES, _CUDA_PAIRS = 64, 512


class Match(NamedTuple):
    """The probability that a sentence matches an image, and the cosine similarity of their features."""

    probability: float
    cosine: float


class ItmModel:
    """BlipForImageTextRetrieval and its processor on a device. Only one thread at a time may use it."""

    def __init__(self, model: Any, processor: Any, device: Device) -> None:
        self._model = model.eval().requires_grad_(requires_grad=False).to(device.device)
        self._processor = processor
        self.device = device
        self._images, self._pairs = (_CUDA_IMAGES, _CUDA_PAIRS) if device.on_cuda else (_CPU_IMAGES, _CPU_PAIRS)

    def matches(
        self, pictures: Iterable[tuple[Place, Picture]], wanted: Mapping[Place, Sequence[str]]
    ) -> dict[Place, dict[str, Match]]:
        """Return the match of each image with each of its wanted sentences; images that can't be decoded have none."""
        tokens = self._tokenized(sorted({text for texts in wanted.values() for text in texts}))
        of_texts = self._text_features(tokens)
        found: dict[Place, dict[str, Match]] = {}
        looked_at = ((place, picture) for place, picture in pictures if wanted.get(place))
        for group in self.device.prepared(self._processor.image_processor, looked_at):
            images = [(item.place, item.pixels) for item in group if item.pixels is not None]
            if images:
                states = self._states(torch.stack([pixels for _, pixels in images]))
                pairs = [(row, text) for row, (place, _) in enumerate(images) for text in wanted[place]]
                for row, text, match in self._matched(states, pairs, tokens, of_texts):
                    found.setdefault(images[row][0], {})[text] = match
        return found

    def _tokenized(self, texts: Sequence[str]) -> dict[str, list[int]]:
        if not texts:
            return {}
        found = self._processor.tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        return dict(zip(texts, found, strict=True))

    def _padded(self, tokens: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens of shape (sentences, the longest one's length), and the mask of those that are not padding."""
        longest = max(len(item) for item in tokens)
        padding = self._processor.tokenizer.pad_token_id
        ids = torch.tensor([item + [padding] * (longest - len(item)) for item in tokens])
        mask = torch.tensor([[1] * len(item) + [0] * (longest - len(item)) for item in tokens])
        return ids.to(self.device.device), mask.to(self.device.device)

    def _text_features(self, tokens: Mapping[str, list[int]]) -> dict[str, torch.Tensor]:
        """Return the features of each sentence by itself, of length 1."""
        ordered = sorted(tokens, key=lambda text: (len(tokens[text]), text))

        def compute(batch: Sequence[str]) -> torch.Tensor:
            def part(rows: torch.Tensor) -> torch.Tensor:
                ids, mask = self._padded([tokens[batch[row]] for row in rows.tolist()])
                hidden = self._model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
                return normalize(self._model.text_proj(hidden[:, 0]).float(), dim=-1)

            return self._halving(part, len(batch))

        features = self.device.map(compute, _parts(ordered, self._pairs))
        return dict(zip(ordered, (row for batch in features for row in batch), strict=True))

    def _states(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the vision tower's output for images, of shape (images, patches + 1, width)."""

        def compute(batch: torch.Tensor) -> torch.Tensor:
            def part(rows: torch.Tensor) -> torch.Tensor:
                given = batch[rows].to(self.device.device, self.device.dtype)
                states: torch.Tensor = self._model.vision_model(pixel_values=given).last_hidden_state
                return states

            return self._halving(part, len(batch))

        return torch.cat(list(self.device.map(compute, torch.split(pixels, self._images))))

    def _matched(
        self,
        states: torch.Tensor,
        pairs: Sequence[tuple[int, str]],
        tokens: Mapping[str, list[int]],
        of_texts: Mapping[str, torch.Tensor],
    ) -> Iterator[tuple[int, str, Match]]:
        """Yield the match of each pair of a row of `states` and a sentence."""
        with torch.inference_mode():
            of_images = normalize(self._model.vision_proj(states[:, 0]).float(), dim=-1)
        ordered = sorted(pairs, key=lambda pair: (len(tokens[pair[1]]), pair))

        def compute(batch: Sequence[tuple[int, str]]) -> torch.Tensor:
            def part(rows: torch.Tensor) -> torch.Tensor:
                chosen = [batch[row] for row in rows.tolist()]
                ids, mask = self._padded([tokens[text] for _, text in chosen])
                given = states[[row for row, _ in chosen]]
                hidden = self._model.text_encoder(
                    input_ids=ids,
                    attention_mask=mask,
                    encoder_hidden_states=given,
                    encoder_attention_mask=torch.ones(given.shape[:2], dtype=torch.long, device=given.device),
                ).last_hidden_state
                probabilities = self._model.itm_head(hidden[:, 0]).float().softmax(dim=-1)[:, 1]
                texts = torch.stack([of_texts[text] for _, text in chosen])
                cosines = (of_images[[row for row, _ in chosen]] * texts).sum(dim=-1)
                return torch.stack([probabilities, cosines], dim=-1)

            return self._halving(part, len(batch)).cpu()

        computed = self.device.map(compute, _parts(ordered, self._pairs))
        values = np.concatenate([batch.numpy() for batch in computed]).tolist()
        for (row, text), (probability, cosine) in zip(ordered, values, strict=True):
            yield row, text, Match(probability, cosine)

    @staticmethod
    def _halving(part: Any, rows: int) -> torch.Tensor:
        with torch.inference_mode():
            return HalvingBatches(part, rows)(torch.arange(rows))


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
