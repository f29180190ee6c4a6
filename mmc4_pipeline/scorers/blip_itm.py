"""BLIP's image-text matching, for the sentences that CLIP finds most similar to an image."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Ge

from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.catalogue import Weights
from mmc4_pipeline.scoring.base import LoadedScorer, Machine, Scorer, ShardScores
from mmc4_pipeline.scoring.shard import Place, Shard, place_of
from schemas.columns import Column, Shape
from schemas.score import DocumentScores, ImageScore

if TYPE_CHECKING:
    from mmc4_pipeline.blip.itm import ItmModel, Match


@dataclass(frozen=True)
class BlipItm(Scorer):
    """Scores each image with the `k` sentences of its document that the scores named `clip` find most similar to it.

    The model reads image and sentence together, which takes far longer than comparing features: all other pairs are
    null. `model` is the published one, or a folder with another one for BlipForImageTextRetrieval of transformers.
    """

    model: str = catalogue.BLIP_ITM.name
    k: Annotated[int, Ge(1)] = 5
    clip: str = "clip"

    columns = (
        Column("itm", Shape.PAIR, "BLIP's probability that the sentence matches the image"),
        Column("itm_similarity", Shape.PAIR, "BLIP's cosine similarity", (-1.0, 1.0)),
    )

    @property
    def reads(self) -> tuple[str, ...]:
        """Return the CLIP."""
        return (self.clip,)

    @property
    def folder(self) -> str:
        """Return the model's name with k, and the CLIP if one was chosen: "blip-itm-base-flickr_5"."""
        return "_".join([Path(self.model).name, str(self.k), *([] if self.clip == "clip" else [self.clip])])

    @property
    def published(self) -> tuple[Weights, ...]:
        """Return the model, unless it is the user's own."""
        return (catalogue.BLIP_ITM,) if self.model == catalogue.BLIP_ITM.name else ()

    def check_packages(self) -> None:
        """Raise UserError unless the packages are there."""
        from mmc4_pipeline.blip.load import require_packages

        require_packages("blip_itm")

    def check(self) -> None:
        """Raise UserError unless the packages and the model are there."""
        from mmc4_pipeline.blip.load import require

        require(catalogue.BLIP_ITM, self.model, "blip_itm")

    def plan(self) -> dict[str, Any]:
        """Return the identity of the model, and the settings."""
        from mmc4_pipeline.blip.load import identity

        settings = {**identity(catalogue.BLIP_ITM, self.model, "blip_itm"), "k": self.k, "clip": self.clip}
        return {"settings": settings, "columns": self.columns}

    def load(self, machine: Machine, /) -> LoadedScorer:
        """Load the model."""
        from mmc4_pipeline.blip.load import load, require

        require(catalogue.BLIP_ITM, self.model, "blip_itm")  # a worker's image may lack it
        from mmc4_pipeline.blip.device import Device
        from mmc4_pipeline.blip.itm import ItmModel

        device = Device(machine)
        loaded = load(catalogue.BLIP_ITM, self.model, "blip_itm", "BlipForImageTextRetrieval", device.dtype)
        return LoadedItm(self, ItmModel(*loaded, device))


@dataclass(frozen=True)
class LoadedItm:
    """The scorer with its model."""

    settings: BlipItm
    model: "ItmModel"

    def score_shard(self, shard: Shard, /) -> ShardScores:
        """Return the scores. An image that CLIP could not decode has none."""
        similar = shard.scores(self.settings.clip)
        chosen = {
            (page.key, image.position): self._most_similar(image.similarity)
            for page, _ in shard.documents
            if page.key in similar
            for image in similar[page.key].images
        }
        wanted: dict[Place, dict[str, None]] = {}
        for page, images in shard.documents:
            for image in images:
                texts = [page.sentences[number] for number in chosen.get((page.key, image.position), ())]
                wanted.setdefault(place_of(image), {}).update(dict.fromkeys(texts))
        found = self.model.matches(shard.pictures(), {place: list(texts) for place, texts in wanted.items()})
        documents = []
        for page, images in shard.documents:
            scores = [
                ImageScore(
                    image.position,
                    _rows(page.sentences, chosen.get((page.key, image.position), []), found.get(place_of(image))),
                )
                for image in images
            ]
            documents.append(DocumentScores(page.key, scores))
        number = sum(len(matches) for matches in found.values())
        return ShardScores(documents, self.model.device.computed_in, f"and {number} pairs")

    def _most_similar(self, similarity: Any) -> list[int]:
        """Return the numbers of the most similar sentences; of equals, those that come first."""
        order = np.argsort(-np.asarray(similarity, dtype=np.float32), kind="stable")[: self.settings.k]
        return [int(number) for number in order]


def _rows(sentences: list[str], chosen: list[int], found: "dict[str, Match] | None") -> dict[str, list[float | None]]:
    """Return the rows of an image: values for the chosen sentences, None for the others; nothing without matches."""
    if not found:
        return {}
    probabilities: list[float | None] = [None] * len(sentences)
    cosines: list[float | None] = [None] * len(sentences)
    for number in chosen:
        match = found[sentences[number]]
        probabilities[number], cosines[number] = match.probability, match.cosine
    return {"itm": probabilities, "itm_similarity": cosines}
