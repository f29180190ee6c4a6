"""A caption for each image, written by BLIP-2, and how similar CLIP finds it to the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.catalogue import Weights
from mmc4_pipeline.models.clip_choice import ClipChoice
from mmc4_pipeline.models.folder import published_clip
from mmc4_pipeline.scoring.base import LoadedScorer, Machine, Scorer, ShardScores
from mmc4_pipeline.scoring.shard import Place, Shard
from schemas.columns import GENERATED_CAPTION, Column, Shape
from schemas.score import Values

if TYPE_CHECKING:
    from mmc4_pipeline.blip.captions import CaptionModel
    from mmc4_pipeline.blip.device import Prepared
    from mmc4_pipeline.clip.model import ClipModel

_SIMILARITY = f"{GENERATED_CAPTION}_similarity"


@dataclass(frozen=True)
class Blip2(Scorer):
    """Writes a caption of at most `max_new_tokens` tokens for each image that the images stage kept.

    `model` is the published one, or a folder with another one for Blip2ForConditionalGeneration of transformers.
    `clip_model` and `clip_pretrained` are the CLIP that compares caption and image, as in ClipChoice.
    """

    model: str = catalogue.BLIP2.name
    max_new_tokens: Annotated[int, Ge(1)] = 30
    clip_model: str = "ViT-L-14"
    clip_pretrained: str = "openai"

    columns = (
        Column(GENERATED_CAPTION, Shape.TEXT, "caption that BLIP-2 wrote for the image; not from the page"),
        Column(
            _SIMILARITY,
            Shape.IMAGE,
            "CLIP's cosine similarity of the image and the caption that BLIP-2 wrote",
            (-1.0, 1.0),
        ),
    )

    @property
    def choice(self) -> ClipChoice:
        """Return the CLIP."""
        return ClipChoice(self.clip_model, self.clip_pretrained)

    @property
    def folder(self) -> str:
        """Return the model's name with that of the CLIP: "blip2-opt-2.7b_ViT-L-14_openai"."""
        return f"{Path(self.model).name}_{self.choice.name}"

    @property
    def published(self) -> tuple[Weights, ...]:
        """Return the model, unless it is the user's own, and the CLIP if it is published."""
        own = (catalogue.BLIP2,) if self.model == catalogue.BLIP2.name else ()
        clip = published_clip(self.choice)
        return (*own, *((clip,) if clip else ()))

    def check_packages(self) -> None:
        """Raise UserError unless the packages are there."""
        from mmc4_pipeline.blip.load import require_packages

        require_packages("blip2")

    def check(self) -> None:
        """Raise UserError unless the packages and both models are there."""
        from mmc4_pipeline.blip.load import require

        require(catalogue.BLIP2, self.model, "blip2")
        from mmc4_pipeline.clip.weights import require_weights

        require_weights(self.choice)

    def plan(self) -> dict[str, Any]:
        """Return the identity of the models, and the settings."""
        from mmc4_pipeline.blip.load import identity

        own = identity(catalogue.BLIP2, self.model, "blip2")
        settings = {**own, "max_new_tokens": self.max_new_tokens, "clip": self.choice.identity()}
        return {"settings": settings, "columns": self.columns}

    def load(self, machine: Machine, /) -> LoadedScorer:
        """Load the models."""
        from mmc4_pipeline.blip.load import load, require

        require(catalogue.BLIP2, self.model, "blip2")  # a worker's image may lack it
        from mmc4_pipeline.blip.captions import CaptionModel
        from mmc4_pipeline.blip.device import Device
        from mmc4_pipeline.clip.cores import cores_for
        from mmc4_pipeline.clip.model import ClipModel

        device = Device(machine)
        loaded = load(catalogue.BLIP2, self.model, "blip2", "Blip2ForConditionalGeneration", device.dtype)
        clip = ClipModel(self.choice, str(device.device), device.precision, cores=cores_for(machine.processes))
        return LoadedBlip2(CaptionModel(*loaded, device, self.max_new_tokens), clip)


@dataclass(frozen=True)
class LoadedBlip2:
    """The scorer with its models."""

    model: "CaptionModel"
    clip: "ClipModel"

    def score_shard(self, shard: Shard, /) -> ShardScores:
        """Return the scores. An image that can't be decoded has none."""
        values: dict[Place, Values] = {}
        device, processor = self.model.device, self.model.processor.image_processor
        for group in device.prepared(processor, shard.pictures()):
            good = [item for item in group if item.pixels is not None]
            values |= self._described(good) if good else {}
        return ShardScores(shard.scores_of_images(values), device.computed_in, f"and {len(values)} captions")

    def _described(self, images: "Sequence[Prepared]") -> dict[Place, Values]:
        import torch

        captions = self.model.captions(torch.stack([item.pixels for item in images if item.pixels is not None]))
        described = {item.place: caption for item, caption in zip(images, captions, strict=True) if caption}
        found: dict[Place, Values] = {place: {GENERATED_CAPTION: caption} for place, caption in described.items()}
        pixels = {item.place: self.clip.pixels.of_file(item.picture) for item in images if item.place in described}
        seen = {place: of_image for place, of_image in pixels.items() if of_image is not None}
        if seen:
            features = self.clip.to_numpy(self.clip.encode(torch.stack(list(seen.values()))))
            texts = self.clip.text_features([described[place] for place in seen])
            for place, similarity in zip(seen, (features * texts).sum(axis=1).tolist(), strict=True):
                found[place] = {GENERATED_CAPTION: described[place], _SIMILARITY: similarity}
        return found
