"""The speed of CLIP models, measured on a few of their layers."""

import pytest

from mmc4_pipeline.estimate.clip_speed import measure_clip


@pytest.mark.engines
def test_a_small_model_is_faster_than_a_large_one_for_which_a_model_with_other_layers_counts() -> None:
    (small, _), (resnet, _) = measure_clip("ViT-B-32-quickgelu"), measure_clip("RN50")
    assert small.images_per_second > 3 * resnet.images_per_second  # ten times in fact
