"""How colourful an image is: 0 for a grey one, about 100 for a very colourful one."""

from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage

from mmc4_pipeline.scoring.base import ShardScores, SimpleScorer
from mmc4_pipeline.scoring.picture import with_pillow
from mmc4_pipeline.scoring.shard import Shard
from schemas.columns import Column, Shape


@dataclass(frozen=True)
class Colourfulness(SimpleScorer):
    """Hasler and Süsstrunk, "Measuring colourfulness in natural images" (2003), in a copy of at most `side` pixels."""

    side: int = 128

    columns = (Column("colourfulness", Shape.IMAGE, "colourfulness after Hasler and Süsstrunk", (0.0, 150.0)),)

    def score_shard(self, shard: Shard, /) -> ShardScores:
        """Return the scores. An image that can't be decoded has none."""
        decoded = ((place, picture.decoded(with_pillow)) for place, picture in shard.pictures())
        values = {place: {"colourfulness": self._measure(image)} for place, image in decoded if image is not None}
        return ShardScores(shard.scores_of_images(values))

    def _measure(self, image: PillowImage.Image) -> float:
        small = image.convert("RGB")  # a copy: other scorers have the same image
        small.thumbnail((self.side, self.side))
        red, green, blue = np.asarray(small, dtype=np.float64).transpose(2, 0, 1)
        red_green, yellow_blue = red - green, (red + green) / 2 - blue
        deviation = np.hypot(red_green.std(), yellow_blue.std())
        return float(deviation + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))
