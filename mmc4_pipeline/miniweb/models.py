"""Load the small models of the miniature web."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import open_clip
import torch

from mmc4_pipeline.clip.heads import FaceHead, NsfwHead

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

WEIGHTS = Path(__file__).with_name("weights")
CLIP_NAME = "clip"  # open_clip names a model after its config file


def load_clip(weights: Path = WEIGHTS) -> tuple[open_clip.CLIP, Callable[..., Tensor], Callable[..., Tensor]]:
    """Return the model, its preprocessing (Pillow image to (3, h, w)) and its tokeniser (n sentences to (n, 32))."""
    open_clip.add_model_config(weights / f"{CLIP_NAME}.json")
    model, _, preprocess = open_clip.create_model_and_transforms(CLIP_NAME, pretrained=str(weights / "clip.pt"))
    return model.eval(), preprocess, open_clip.get_tokenizer(CLIP_NAME)


def load_heads(width: int, weights: Path = WEIGHTS) -> tuple[NsfwHead, FaceHead]:
    """Return the two heads, for features of that width."""
    nsfw, faces = NsfwHead(width), FaceHead(width)
    nsfw.load_state_dict(torch.load(weights / "nsfw.pt", weights_only=True))
    faces.load_state_dict(torch.load(weights / "faces.pt", weights_only=True))
    return nsfw.eval(), faces.eval()
