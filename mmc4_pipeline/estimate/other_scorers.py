"""Estimates the needs of the other scorers that read images, as CLIP does: BLIP's image-text matching, and BLIP-2."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmc4_pipeline.estimate.corpus import Corpus
from mmc4_pipeline.estimate.needs import Needs, Prices, Resources, Work
from mmc4_pipeline.estimate.table import rounded
from mmc4_pipeline.scorers.aesthetic import Aesthetic
from mmc4_pipeline.scorers.blip2 import Blip2
from mmc4_pipeline.scorers.blip_itm import BlipItm
from mmc4_pipeline.scorers.clip import Clip
from mmc4_pipeline.scorers.image_sequence import ImageSequence
from mmc4_pipeline.scorers.registry import name_of
from mmc4_pipeline.scoring.base import Scorer

# Pairs of an image and a sentence per second of a core: 1.0 to 1.3 were seen on 2 cores.
ITM_ON_CORE = (1.0 + 1.3) / 2 / 2
# Those of the published models. Captions on a core were not measured: a caption is taken to be as much work per
# parameter as a pair of ITM.
ITM_PARAMETERS, BLIP2_PARAMETERS = 224e6, 3.74e9
CAPTIONS_ON_CORE = ITM_ON_CORE * ITM_PARAMETERS / BLIP2_PARAMETERS
_ITM_SOURCE = "seen elsewhere: 1.0 to 1.3 on 2 cores together"
_BLIP2_SOURCE = (
    f"not measured, may be far off: the {rounded(ITM_ON_CORE):g} pairs per second of blip_itm on a core, divided by "
    f"how many times more parameters BLIP-2 has: {BLIP2_PARAMETERS / 1e9:g} billion instead of "
    f"{ITM_PARAMETERS / 1e6:g} million"
)
_FREE = (Clip, Aesthetic, ImageSequence)  # CLIP has its own row; the others read its features, in hardly any time


@dataclass(frozen=True, slots=True)
class ScorerCost:
    """What a scorer computes: `per_image` items for each image, and how many per second on one GPU, or else one core.

    `per_second` is None if that is not known; `source` then says what to do.
    """

    name: str
    item: str
    per_image: int
    per_second: float | None
    source: str

    def needs(self, corpus: Corpus, resources: Resources, prices: Prices) -> Needs | None:
        """Return what the scorer takes, None if its speed is not known. Its pictures are read together with CLIP's."""
        if self.per_second is None:
            return None
        seconds = corpus.scored * self.per_image / self.per_second
        work = Work(gpu_seconds=seconds) if resources.gpus else Work(core_seconds=seconds)
        return Needs.of(self.name, "gpu" if resources.gpus else "cpu", work, resources, prices)

    def in_words(self, resources: Resources) -> str:
        """Return the assumption."""
        if self.per_second is None:
            return f"{self.name}: its cost is not known, and is not in the total. {self.source}"
        device = "A GPU" if resources.gpus else "A core"
        plural = "" if self.per_image == 1 else "s"
        return (
            f"{self.name} computes {self.per_image} {self.item}{plural} per image. {device} computes "
            f"{rounded(self.per_second):g} {self.item}s per second ({self.source})."
        )


def costs_of(
    scorers: Sequence[Scorer], itm_pairs: float | None, captions: float | None, resources: Resources
) -> tuple[ScorerCost, ...]:
    """Return the costs of the scorers that take a time worth counting.

    `itm_pairs` and `captions` are speeds per second that the user gave for one GPU, or without GPUs for one core.
    Without them, only speeds on cores are known. The cost of a plug-in's scorer is not known.
    """
    found = []
    for scorer in scorers:
        name = name_of(scorer)
        if isinstance(scorer, BlipItm):
            speed = _speed(itm_pairs, ITM_ON_CORE, _ITM_SOURCE, "itm_pairs_per_second", resources)
            found.append(ScorerCost(name, "pair", scorer.k, *speed))
        elif isinstance(scorer, Blip2):
            speed = _speed(captions, CAPTIONS_ON_CORE, _BLIP2_SOURCE, "captions_per_second", resources)
            found.append(ScorerCost(name, "caption", 1, *speed))
        elif not isinstance(scorer, _FREE):
            found.append(ScorerCost(name, "", 1, None, "Only its plug-in's documentation can tell."))
    return tuple(found)


def _speed(
    given: float | None, on_core: float, source: str, option: str, resources: Resources
) -> tuple[float | None, str]:
    if given:
        return given, "given"
    if resources.gpus:
        return None, f"Its speed on a GPU was not measured: run benchmarks/gpu.py on one and pass --{option}."
    return on_core, f"{source}; --{option} replaces it"
