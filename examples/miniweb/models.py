"""The small models of the miniature web: where they lie, how they are built and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

WEIGHTS = Path(__file__).with_name("weights")
CLIP_NAME = "clip"  # open_clip names a model after its config file


class NsfwHead(nn.Module):
    """The layers of LAION's CLIP-based NSFW detector, on L2-normalised image features of width `width`."""

    def __init__(self, width: int) -> None:
        """Random weights."""
        super().__init__()
        self.norm = nn.BatchNorm1d(width, eps=0)
        self.dense = nn.Linear(width, 64)
        self.dense1 = nn.Linear(64, 512)
        self.dense2 = nn.Linear(512, 256)
        self.dense3 = nn.Linear(256, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, width) to probabilities (n,)."""
        hidden = self.norm(features)
        for layer in (self.dense, self.dense1, self.dense2):
            hidden = functional.relu(layer(hidden))
        return torch.sigmoid(self.dense3(hidden)[:, 0])


class FacesHead(nn.Module):
    """Logistic regression on L2-normalised image features of width `width`."""

    def __init__(self, width: int) -> None:
        """Random weights."""
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, width) to probabilities (n,)."""
        return torch.sigmoid(self.linear(features)[:, 0])


def load_clip(weights: Path = WEIGHTS) -> tuple[open_clip.CLIP, Callable[..., Tensor], Callable[..., Tensor]]:
    """Load the model, its preprocessing of a Pillow image to (3, h, w) and its tokeniser of n sentences to (n, 32)."""
    open_clip.add_model_config(weights / f"{CLIP_NAME}.json")
    model, _, preprocess = open_clip.create_model_and_transforms(CLIP_NAME, pretrained=str(weights / "clip.pt"))
    return model.eval(), preprocess, open_clip.get_tokenizer(CLIP_NAME)


def load_heads(width: int, weights: Path = WEIGHTS) -> tuple[NsfwHead, FacesHead]:
    """Load the two heads for features of width `width`."""
    nsfw, faces = NsfwHead(width), FacesHead(width)
    nsfw.load_state_dict(torch.load(weights / "nsfw.pt", weights_only=True))
    faces.load_state_dict(torch.load(weights / "faces.pt", weights_only=True))
    return nsfw.eval(), faces.eval()
