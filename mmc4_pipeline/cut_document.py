"""The document as the cut stage leaves it: what every format writes, and statistics and the ledger are made from."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from schemas.image import Image
from schemas.page import Page
from schemas.reasons import Drop, Stage
from schemas.score import ImageScore


@dataclass(frozen=True, slots=True)
class Placed:
    """A kept image, the sentence that it was assigned to (its index), and their similarity.

    `before` is how many sentences stand before the image in the document's sequence: as many as the index of its
    sentence, or one more if it stands after the last one.
    """

    image: Image
    score: ImageScore
    sentence: int
    similarity: float
    before: int


@dataclass(frozen=True, slots=True)
class CutDocument:
    """A document after the cut stage's decisions. If it was dropped, `placed` is empty and `reason` is set.

    `placed` is in reading order (images at the same place in page order): OpenFlamingo's loader takes the first
    image for the first mark in the text. MMC4's published shards have images in page order.
    `dropped` has the stage and the drop of each image link that is not placed, by the link's position.
    `declarations` has the declaration for which a link was dropped, by the link's position.
    """

    page: Page
    placed: list[Placed]
    dropped: dict[int, tuple[Stage, Drop]]
    images: dict[int, Image]
    scores: dict[int, ImageScore]
    reason: str | None
    declarations: dict[int, str] = field(default_factory=dict)

    def cut_reasons(self) -> Iterator[str | None]:
        """Yield the cut stage's reason for each image that reached it scored; None for a kept image."""
        for stage, drop in self.dropped.values():
            if stage is Stage.CUT:
                yield drop.reason
        yield from (None for _ in self.placed)
