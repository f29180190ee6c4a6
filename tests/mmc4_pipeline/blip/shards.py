"""A shard with a few documents and images, for scorers that look at images."""

import io

import numpy as np
from PIL import Image as PillowImage

from mmc4_pipeline.scoring.shard import Shard
from schemas.image import Image
from schemas.page import Page
from schemas.score import DocumentScores, ImageScore
from tests.mmc4_pipeline.blip.small_models import WORDS
from tests.mmc4_pipeline.one_shard import shard_of, tar_of
from tests.pages import new_page

BROKEN = b"\xff\xd8 not a JPEG"


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    out = io.BytesIO()
    PillowImage.fromarray(pixels).resize((50, 40), PillowImage.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


def sentences(seed: int, number: int) -> list[str]:
    generator = np.random.default_rng(seed)
    lengths = [50, *generator.integers(1, 12, number - 1).tolist()]  # the first is longer than BLIP reads
    return [" ".join(generator.choice(WORDS, length)) for length in lengths]


def planted(scale: int = 1) -> tuple[list[Page], list[Image], list[bytes]]:
    """Return pages, images, and the files that the images are: one is used twice, one is broken, one page has none."""
    pages = [new_page("a", sentences(1, 7)), new_page("b", [*sentences(2, 2), *sentences(1, 1)]), new_page("c", ["a"])]
    files = [jpeg(1), jpeg(2), BROKEN, jpeg(3)]
    used = {"a": [0, 1, 2, 3], "b": [1, 3]}
    for more in range(1, scale):
        pages.append(new_page(f"d{more}", sentences(10 + more, 5)))
        files.append(jpeg(10 + more))
        used[f"d{more}"] = [len(files) - 1]
    _, places = tar_of(files)
    images = [
        Image(key, position, "u", offset=places[number][0], length=places[number][1])
        for key, numbers in used.items()
        for position, number in enumerate(numbers)
    ]
    return pages, images, files


def similar(pages: list[Page], images: list[Image]) -> list[DocumentScores]:
    """Return a CLIP's scores: similarities in a known order, with two that are equal."""
    found = []
    for page in pages:
        generator = np.random.default_rng(len(page.sentences))
        scores = []
        for image in images:
            if image.key == page.key:
                row = generator.permutation(len(page.sentences)).astype(float) / 10
                row[-1] = row[0]
                scores.append(ImageScore(image.position, {"similarity": row.tolist()}))
        found.append(DocumentScores(page.key, scores))
    return found


def shard(pages: list[Page], images: list[Image], files: list[bytes], clip: str = "clip") -> Shard:
    return shard_of(pages, images, tar_of(files)[0], scores={clip: similar(pages, images)})
