"""Whether an image is an advertisement, by what CLIP makes of some sentences about it: no head has to be trained."""

import numpy as np
import numpy.typing as npt

from mmc4_pipeline.clip.model import ClipModel, Features

# Written for this project, not taken from a paper; a score is only comparable with others of the same list.
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
        """Compute the prompts' features, once for a model."""
        self._prompts = model.text_features([*AD_PROMPTS, *OTHER_PROMPTS])
        self._scale = model.logit_scale

    def probabilities(self, features: Features) -> npt.NDArray[np.float32]:
        """Give the probability of all ad prompts together, of shape (images,), for features of length 1."""
        logits = self._scale * (features @ self._prompts.T)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: npt.NDArray[np.float32] = weights[:, : len(AD_PROMPTS)].sum(axis=1) / weights.sum(axis=1)
        return shares.astype(np.float32)
