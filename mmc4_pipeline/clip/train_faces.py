"""Train a face head as MMC4 did: logistic regression on CLIP features, with a detector's results as labels.

MMC4, section 3 (fewer faces). The threshold is set for the requested recall on held-out sites.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmc4_pipeline.clip.face_sample import Examples
from mmc4_pipeline.clip.heads import FaceHead, probabilities
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.naming import stable_hash
from mmc4_pipeline.recipe import FaceHeadSettings

# Images with a face, and images without, in each of the two parts: with fewer, 95% of them is all of them.
MINIMUM = 20
# scikit-learn's C, for features scaled to a deviation of 1: a larger one overfits small samples.
_REGULARISATION = 0.01
_ITERATIONS = 2000

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TrainedHead:
    """A head with its threshold at a probability of 0.5, and its figures on the held-out sites."""

    head: FaceHead
    figures: dict[str, Any]


def train_face_head(examples: Examples, settings: FaceHeadSettings, seed: int) -> TrainedHead:
    """Train a head and set its threshold. The same examples and seed give the same head.

    Raises UserError if either part of the split has too few images with a face, or too few without.
    """
    held = _held_out(examples.sites, settings.held_out, seed)
    _refuse_too_few(examples.has_face, held)
    weight, bias = _fit(examples.features[~held], examples.has_face[~held])
    logits = examples.features[held] @ weight + bias
    threshold = _threshold(logits, examples.has_face[held], settings.recall)
    head = _head(weight, bias - threshold)
    flagged = probabilities(head, examples.features[held]) > 0.5
    found = flagged & examples.has_face[held]
    figures = {
        "recall": float(found.sum() / examples.has_face[held].sum()),
        "precision": float(found.sum() / flagged.sum()),
        "flagged": float(flagged.mean()),
        "cutoff": float(1 / (1 + np.exp(-threshold))),
        "wanted_recall": settings.recall,
        "seed": seed,
        "trained_on": _counts(examples, ~held),
        "held_out": _counts(examples, held),
    }
    return TrainedHead(head, figures)


def _held_out(sites: Sequence[str], share: float, seed: int) -> Mask:
    """Return for each image whether it is held out: whole sites are, because a site's images are often alike."""
    held_out = {site: stable_hash(f"{seed} held out {site}") < share * 2**64 for site in set(sites)}
    return np.array([held_out[site] for site in sites], dtype=np.bool_)


def _refuse_too_few(has_face: Mask, held: Mask) -> None:
    for what, wanted in (("images with a face", has_face), ("images without a face", ~has_face)):
        learned, kept_back = int((wanted & ~held).sum()), int((wanted & held).sum())
        if min(learned, kept_back) < MINIMUM:
            raise UserError(
                f"too few {what}: {learned} to train on and {kept_back} on held-out sites; each must be at least "
                f"{MINIMUM}. Use the images of more pages, or a larger sample: --set face_head.sample=N"
            )


def _fit(features: npt.NDArray[np.float32], has_face: Mask) -> tuple[Numbers, float]:
    """Fit on features scaled to a deviation of 1, and return weights and bias for the unscaled features."""
    from sklearn.linear_model import LogisticRegression

    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1.0
    regression = LogisticRegression(C=_REGULARISATION, max_iter=_ITERATIONS)
    regression.fit((features - mean) / deviation, has_face)
    weight = np.asarray(regression.coef_[0] / deviation, dtype=np.float64)
    return weight, float(regression.intercept_[0] - mean @ weight)


def _threshold(logits: Numbers, has_face: Mask, recall: float) -> float:
    """Return the highest threshold with at least that recall, moved half way to the next lower logit."""
    faces = np.sort(logits[has_face])[::-1]
    lowest = faces[int(np.ceil(recall * len(faces))) - 1]
    below = logits[logits < lowest]
    return float((lowest + below.max()) / 2 if len(below) else lowest - 1)


def _head(weight: Numbers, bias: float) -> FaceHead:
    head = FaceHead(len(weight))
    with torch.no_grad():
        head.linear.weight.copy_(torch.from_numpy(weight[None]))
        head.linear.bias.fill_(bias)
    return head.eval()


def _counts(examples: Examples, part: Mask) -> dict[str, int]:
    sites = {site for site, inside in zip(examples.sites, part, strict=True) if inside}
    return {"images": int(part.sum()), "faces": int((examples.has_face & part).sum()), "sites": len(sites)}
