"""Measures how fast one core of this machine computes CLIP, on a model of few layers: the layers of CLIP are alike."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from mmc4_pipeline.clip.extra import require_score_extra
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.estimate.estimate import ScoreSpeeds
from mmc4_pipeline.models.clip_choice import RANDOM, ClipChoice

# ViT-L-14 by benchmarks/clip_cpu.py, per core: where PyTorch is not installed.
PUBLISHED = ScoreSpeeds(images_per_second=0.57, sentences_per_second=18.0)
# On one GPU. timm's published benchmark has 324 images/s in mixed precision on an RTX 3090 for this model
# (results/benchmark-infer-amp-nchw-pt210-cu121-rtx3090.csv in huggingface/pytorch-image-models, row
# vit_large_patch14_clip_quickgelu_224). benchmarks/clip_cpu.py measures 30 sentences in the time of an image.
ON_GPU = ScoreSpeeds(images_per_second=300.0, sentences_per_second=9000.0)
_LAYERS = 2  # of the measured model, which is otherwise the one whose speed is wanted
_LARGE = "ViT-L-14"
_IMAGES, _SENTENCES, _ROUNDS = 2, 16, 2
# With a number, 25 tokens.
_SENTENCE = "The old lighthouse stands at the end of the pier, and from its top you can see the whole coast."


def gpus_here() -> int:
    """Return how many GPUs this machine has."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def measure_clip(model: str = _LARGE) -> tuple[ScoreSpeeds, str]:
    """Return the speeds of one core, and their source. Takes some seconds, most of them for importing PyTorch.

    `model` is a name known to open_clip or the path of a config. If its layers are not alike, ViT-L-14 is measured.
    """
    try:
        require_score_extra("")
    except UserError:
        return PUBLISHED, "assumed: PyTorch is not installed here"
    from PIL import Image as PillowImage

    from mmc4_pipeline.clip.model import ClipModel

    config, layers = _with_few_layers(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "CLIP-of-few-layers.json"
        path.write_bytes(orjson.dumps(config))
        measured = ClipModel(ClipChoice(str(path), RANDOM), "cpu", cores=1)
    pictures = [PillowImage.effect_noise((640, 480), 64).convert("RGB")] * _IMAGES
    sentences = [f"{number} {_SENTENCE}" for number in range(_SENTENCES)]
    image = _least(lambda: measured.image_features(pictures)) / _IMAGES * layers[0] / _LAYERS
    sentence = _least(lambda: measured.text_features(sentences)) / _SENTENCES * layers[1] / _LAYERS
    return ScoreSpeeds(1 / image, 1 / sentence), "measured"


def _with_few_layers(model: str) -> tuple[dict[str, Any], tuple[int, int]]:
    """Return the config of a model with few layers, and how many the model has: of its image and its text tower."""
    import open_clip

    known = Path(model).is_file() and orjson.loads(Path(model).read_bytes())
    config = known or open_clip.get_model_config(model) or {}
    towers = [dict(config.get(name, {})) for name in ("vision_cfg", "text_cfg")]
    images, text = (tower.get("layers") for tower in towers)
    if not (isinstance(images, int) and isinstance(text, int)):
        return _with_few_layers(_LARGE)
    few = ({**tower, "layers": _LAYERS} for tower in towers)
    return {**config, **dict(zip(("vision_cfg", "text_cfg"), few, strict=True))}, (images, text)


def _least(compute: Callable[[], object]) -> float:
    """Return the seconds of the faster of two runs: the first one is slower."""
    taken = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        compute()
        taken.append(time.process_time() - start)
    return min(taken)
