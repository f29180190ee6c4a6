"""Small classifiers on CLIP image features: unsafe images, faces. Files are PyTorch state dicts, never pickles."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mmc4_pipeline import storage
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.clip_choice import ClipChoice
from mmc4_pipeline.models.folder import identify

_MADE_FOR = "clip"  # the key, next to the weights, of the CLIP that a head was trained with


class NsfwHead(nn.Module):
    """LAION's CLIP-based NSFW detector, in the public format of dataset2metadata's nsfw_torch.pt (MMC4, section 3)."""

    def __init__(self, width: int) -> None:
        """Create a head without weights for features of that width."""
        super().__init__()
        self.norm = nn.BatchNorm1d(width, eps=0.0)
        self.dense = nn.Linear(width, 64)
        self.dense1 = nn.Linear(64, 512)
        self.dense2 = nn.Linear(512, 256)
        self.dense3 = nn.Linear(256, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return probabilities of shape (images,) for L2-normalised features of shape (images, width)."""
        hidden = torch.relu(self.dense(self.norm(features)))
        hidden = torch.relu(self.dense1(hidden))
        hidden = torch.relu(self.dense2(hidden))
        return torch.sigmoid(self.dense3(hidden)).squeeze(-1)


class FaceHead(nn.Module):
    """Logistic regression. Its bias is set so that the threshold is 0.5 (95% recall against its detector's labels)."""

    def __init__(self, width: int) -> None:
        """Create a head without weights for features of that width."""
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return probabilities of shape (images,) for L2-normalised features of shape (images, width)."""
        return torch.sigmoid(self.linear(features)).squeeze(-1)


HEADS: dict[str, type[NsfwHead | FaceHead]] = {"nsfw": NsfwHead, "face": FaceHead}  # by the name of the score


def save_head(head: nn.Module, path: str, clip: ClipChoice) -> None:
    """Write a head and the identity of the CLIP that it was trained with."""
    file = io.BytesIO()
    torch.save({**head.state_dict(), _MADE_FOR: clip.identity()}, file)
    storage.write_bytes(path, file.getvalue())


def load_head(head: type[NsfwHead | FaceHead], path: str, width: int, clip: ClipChoice | None = None) -> nn.Module:
    """Load a head for the features of a CLIP, of that width.

    Raises UserError if the file is missing, is not such a head, was made for another CLIP, or has the name of a
    published head but other content.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    made_for = catalogue.CLIP_IDENTITY if identify(path) == catalogue.NSFW else None
    module = head(width)
    try:
        weights: dict[str, Any] = dict(torch.load(path, map_location="cpu", weights_only=True))
        if _MADE_FOR in weights:
            made_for = {name: str(weights[_MADE_FOR][name]) for name in ("model", "weights")}
            del weights[_MADE_FOR]
        module.load_state_dict(weights)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not a {head.__name__} for CLIP features of width {width}: {reason}") from error
    if clip and made_for and not clip.may_be(made_for):
        own = clip.identity()
        raise UserError(
            f"{path}: made for CLIP {made_for['model']} with weights {made_for['weights']}, "
            f"not for {own['model']} with {own['weights']}; use a head for that CLIP"
        )
    return module.eval()


def probabilities(head: nn.Module, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the head's probabilities, of shape (images,), for features of shape (images, width)."""
    with torch.inference_mode():
        return np.asarray(head(torch.from_numpy(features)).numpy(), dtype=np.float32)


def load_aesthetic_head(path: str) -> tuple[npt.NDArray[np.float64], float]:
    """Return the weights, one per feature, and the bias of a linear head in the format of LAION's aesthetic predictor.

    Raises UserError if the file is missing or is not such a head.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        head = nn.Linear(weights["weight"].shape[1], 1)
        head.load_state_dict(weights)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not a linear head for CLIP features: {reason}") from error
    return head.weight.detach()[0].double().numpy(), float(head.bias.detach())
