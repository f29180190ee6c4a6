"""Small classifiers on CLIP image features: unsafe images, faces. Files are PyTorch state dicts, never pickles."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mmc4_pipeline.errors import UserError

NSFW_HOME = "https://github.com/mlfoundations/dataset2metadata/releases/download/v0.1.0-alpha/nsfw_torch.pt"


class NsfwHead(nn.Module):
    """LAION's CLIP-based NSFW detector in the public format of dataset2metadata's nsfw_torch.pt (MMC4, section 3)."""

    def __init__(self, width: int) -> None:
        """Make an empty head for features of that width."""
        super().__init__()
        self.norm = nn.BatchNorm1d(width, eps=0.0)
        self.dense = nn.Linear(width, 64)
        self.dense1 = nn.Linear(64, 512)
        self.dense2 = nn.Linear(512, 256)
        self.dense3 = nn.Linear(256, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Give probabilities of shape (images,) for L2-normalised features of shape (images, width)."""
        hidden = torch.relu(self.dense(self.norm(features)))
        hidden = torch.relu(self.dense1(hidden))
        hidden = torch.relu(self.dense2(hidden))
        return torch.sigmoid(self.dense3(hidden)).squeeze(-1)


class FaceHead(nn.Module):
    """Logistic regression; its bias is set so that 0.5 is the cutoff (95% recall of the detector it learned from)."""

    def __init__(self, width: int) -> None:
        """Make an empty head for features of that width."""
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Give probabilities of shape (images,) for L2-normalised features of shape (images, width)."""
        return torch.sigmoid(self.linear(features)).squeeze(-1)


def load_head(head: type[NsfwHead | FaceHead], path: str, width: int) -> nn.Module:
    """Load a head for features of that width; raises UserError for a file that is missing or for another CLIP."""
    if not Path(path).is_file():
        message = f"{path}: no such file"
        raise UserError(message)
    module = head(width)
    try:
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        message = f"{path}: no {head.__name__} for CLIP features of width {width}: {reason}"
        raise UserError(message) from error
    return module.eval()


def probabilities(head: nn.Module, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Give the head's probabilities of shape (images,)."""
    with torch.inference_mode():
        return np.asarray(head(torch.from_numpy(features)).numpy(), dtype=np.float32)
