"""Classify images as advertisements by their similarity to prompts, so that no head has to be trained."""

import numpy as np
import numpy.typing as npt

from mmc4_pipeline.clip.model import ClipModel, Features

# Written for this project, not taken from a paper. Scores are comparable only if their prompts are the same.
AD_PROMPTS = (
    "an advertisement",
    "a banner ad on a web page",
    "a sale poster with prices and discounts",
    "a promotional graphic with a buy now button",
    "a company logo with a slogan",
)
OTHER_PROMPTS = (
    "a photo",
    "a photo of a person",
    "a photo of a place",
    "a photo of an object",
    "a drawing",
    "a diagram",
    "a screenshot of a document",
)


class AdPrompts:
    """Zero-shot classification as in CLIP's paper (Radford et al. 2021, section 3.1): a softmax over prompts."""

    def __init__(self, model: ClipModel) -> None:
        """Compute the prompts' features once."""
        self._prompts = model.text_features([*AD_PROMPTS, *OTHER_PROMPTS])
        self._scale = model.logit_scale

    def probabilities(self, features: Features) -> npt.NDArray[np.float32]:
        """Return the total probability of the ad prompts, of shape (images,), for features of length 1."""
        logits = self._scale * (features @ self._prompts.T)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: npt.NDArray[np.float32] = weights[:, : len(AD_PROMPTS)].sum(axis=1) / weights.sum(axis=1)
        return shares.astype(np.float32)
