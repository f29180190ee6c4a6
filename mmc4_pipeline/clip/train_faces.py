"""Trains a face head as MMC4 did: logistic regression on CLIP features, a detector's verdicts as labels.

MMC4, section 3 (fewer faces). The cutoff has the wanted recall on sites that the regression did not learn from.
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

LEAST = 20  # faces, and images without, for each of the two parts: of fewer, 95% is as good as all
_REGULARISATION = (
    0.01  # scikit-learn's C, for features scaled to a deviation of 1: with more, small samples are overfitted
)
_ITERATIONS = 2000

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TrainedHead:
    """A head whose probability is 0.5 at the cutoff, and what it reaches."""

    head: FaceHead
    figures: dict[str, Any]


def train_face_head(examples: Examples, settings: FaceHeadSettings, seed: int) -> TrainedHead:
    """Train and set the cutoff; the same examples and seed give the same head.

    Raises UserError where there are too few faces, or too few images without, on either side of the split.
    """
    held = _held_out(examples.sites, settings.held_out, seed)
    _refuse_too_few(examples.has_face, held)
    weight, bias = _fit(examples.features[~held], examples.has_face[~held])
    logits = examples.features[held] @ weight + bias
    cutoff = _cutoff(logits, examples.has_face[held], settings.recall)
    head = _head(weight, bias - cutoff)
    flagged = probabilities(head, examples.features[held]) > 0.5
    found = flagged & examples.has_face[held]
    figures = {
        "recall": float(found.sum() / examples.has_face[held].sum()),
        "precision": float(found.sum() / flagged.sum()),
        "flagged": float(flagged.mean()),
        "cutoff": float(1 / (1 + np.exp(-cutoff))),
        "wanted_recall": settings.recall,
        "seed": seed,
        "trained_on": _counts(examples, ~held),
        "held_out": _counts(examples, held),
    }
    return TrainedHead(head, figures)


def _held_out(sites: Sequence[str], share: float, seed: int) -> Mask:
    """Say of each image whether it is held out: whole sites are, as a site's pictures are often much alike."""
    verdicts = {site: stable_hash(f"{seed} held out {site}") < share * 2**64 for site in set(sites)}
    return np.array([verdicts[site] for site in sites], dtype=np.bool_)


def _refuse_too_few(has_face: Mask, held: Mask) -> None:
    for what, wanted in (("images with a face", has_face), ("images without a face", ~has_face)):
        learned, kept_back = int((wanted & ~held).sum()), int((wanted & held).sum())
        if min(learned, kept_back) < LEAST:
            message = (
                f"too few {what} to train on: {learned}, and {kept_back} on the sites held out; each must be at least "
                f"{LEAST}. Take the images of more pages, or a larger sample: --set face_head.sample=N"
            )
            raise UserError(message)


def _fit(features: npt.NDArray[np.float32], has_face: Mask) -> tuple[Numbers, float]:
    """Fit on features scaled to a deviation of 1; give weights and bias for the features as they are."""
    from sklearn.linear_model import LogisticRegression

    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1.0
    regression = LogisticRegression(C=_REGULARISATION, max_iter=_ITERATIONS)
    regression.fit((features - mean) / deviation, has_face)
    weight = np.asarray(regression.coef_[0] / deviation, dtype=np.float64)
    return weight, float(regression.intercept_[0] - mean @ weight)


def _cutoff(logits: Numbers, has_face: Mask, recall: float) -> float:
    """Give the highest cutoff above which at least that share of the faces lies, half way to the next logit below."""
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
