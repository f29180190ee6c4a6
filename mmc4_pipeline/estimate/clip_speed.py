"""Measures how fast one core of this machine computes CLIP, on a model of few layers: the layers of CLIP are alike."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from mmc4_pipeline.clip.extra import require_score_extra
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.estimate.estimate import ScoreSpeeds
from mmc4_pipeline.models.clip_choice import RANDOM, ClipChoice

# ViT-L-14 by benchmarks/clip_cpu.py, per core: where PyTorch is not installed.
PUBLISHED = ScoreSpeeds(images_per_second=0.57, sentences_per_second=18.0)
_IMAGE_LAYERS, _TEXT_LAYERS = 24, 12
_LAYERS = 2  # of the measured model, which is otherwise ViT-L-14
_CONFIG = {
    "embed_dim": 768,
    "vision_cfg": {"image_size": 224, "layers": _LAYERS, "width": 1024, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 768, "heads": 12, "layers": _LAYERS},
}
_IMAGES, _SENTENCES, _ROUNDS = 2, 16, 2
# With a number, 25 tokens.
_SENTENCE = "The old lighthouse stands at the end of the pier, and from its top you can see the whole coast."


def measure_clip() -> tuple[ScoreSpeeds, str]:
    """Return the speeds of one core, and their source. Takes some seconds, most of them for importing PyTorch."""
    try:
        require_score_extra("")
    except UserError:
        return PUBLISHED, "assumed: PyTorch is not installed here"
    from PIL import Image as PillowImage

    from mmc4_pipeline.clip.model import ClipModel

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "ViT-L-14-of-few-layers.json"
        config.write_bytes(orjson.dumps(_CONFIG))
        model = ClipModel(ClipChoice(str(config), RANDOM), "cpu", cores=1)
    pictures = [PillowImage.effect_noise((640, 480), 64).convert("RGB")] * _IMAGES
    sentences = [f"{number} {_SENTENCE}" for number in range(_SENTENCES)]
    image = _least(lambda: model.image_features(pictures)) / _IMAGES * _IMAGE_LAYERS / _LAYERS
    sentence = _least(lambda: model.text_features(sentences)) / _SENTENCES * _TEXT_LAYERS / _LAYERS
    return ScoreSpeeds(1 / image, 1 / sentence), "measured"


def _least(compute: Callable[[], object]) -> float:
    """Return the seconds of the faster of two runs: the first one is slower."""
    taken = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        compute()
        taken.append(time.process_time() - start)
    return min(taken)
