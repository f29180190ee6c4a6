"""A generated shard of the pages and images stages, for benchmarks: no other data is needed."""

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from mmc4_pipeline import storage
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.tar import add_file, open_tar
from schemas.image import Image
from schemas.page import Page
from schemas.reasons import Stage

# Typical images of pages: width, height, and how many of ten. 0.19 megapixels on average.
SIZES = ((800, 600, 1), (640, 480, 2), (500, 375, 3), (400, 300, 2), (300, 300, 2))
IMAGES_IN_DOCUMENT, SENTENCES_IN_DOCUMENT = 5, 20
DISTINCT_IMAGES = 500
WORDS = (
    "the",
    "a",
    "of",
    "in",
    "with",
    "photo",
    "house",
    "dog",
    "tree",
    "recipe",
    "garden",
    "summer",
    "river",
    "market",
)


class Shard:
    """A generated shard of the pages and images stages. All of its sentences are different."""

    def __init__(self, folder: Path, documents: int) -> None:
        self.output = str(folder)
        self.pages, self.stored = (StageFolder(storage.join(self.output, name), Stage.IMAGES) for name in ("p", "i"))
        self.images, self.sentences = documents * IMAGES_IN_DOCUMENT, documents * SENTENCES_IN_DOCUMENT
        self.tar = self.stored.shard_file("images", 0, 1, "tar")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            files = list(pool.map(jpeg, range(min(DISTINCT_IMAGES, self.images))))
        self.bytes = round(sum(len(file) for file in files) / len(files))
        keys = sorted(hashlib.sha256(str(number).encode()).hexdigest()[:16] for number in range(documents))
        images = []
        with storage.write_atomically(self.tar) as stream, open_tar(stream) as tar:
            for number in range(self.images):
                data = files[number % len(files)]
                place = add_file(tar, f"{number}.jpg", data)
                key, position = keys[number // IMAGES_IN_DOCUMENT], number % IMAGES_IN_DOCUMENT
                url = f"https://site.example/{number}.jpg"
                images.append(Image(key, position, url, offset=place, length=len(data)))
        self.places = [(image.offset or 0, image.length or 0) for image in images]
        self.texts = [sentence(number) for number in range(self.sentences)]
        moment = datetime(2019, 4, 25, tzinfo=UTC)
        pages = [
            Page(key, f"https://site.example/{key}", "site.example", moment, False, self.texts_of(number), [])  # noqa: FBT003
            for number, key in enumerate(keys)
        ]
        storage.write_records(self.stored.shard_file("images", 0, 1), images, Image)
        storage.write_records(self.pages.shard_file("pages", 0, 1), pages, Page)

    def texts_of(self, document: int) -> list[str]:
        """Return a document's sentences."""
        return self.texts[document * SENTENCES_IN_DOCUMENT : (document + 1) * SENTENCES_IN_DOCUMENT]


def jpeg(seed: int) -> bytes:
    """Return a JPEG of smooth shapes with some noise, with about the same bytes per pixel as photographs."""
    generator = np.random.default_rng(seed)
    sizes = [(width, height) for width, height, share in SIZES for _ in range(share)]
    width, height = sizes[seed % len(sizes)]
    coarse = PillowImage.fromarray(generator.integers(0, 256, (height // 25, width // 25, 3)).astype(np.uint8))
    smooth = np.asarray(coarse.resize((width, height), PillowImage.Resampling.BICUBIC)).astype(np.float32)
    noisy: npt.NDArray[np.float32] = smooth + generator.normal(0, 6, smooth.shape).astype(np.float32)
    file = io.BytesIO()
    PillowImage.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def sentence(number: int) -> str:
    """Return a unique sentence of 4 to 34 words and a number, of typical length for web pages."""
    generator = np.random.default_rng(number)
    words = generator.choice(WORDS, int(generator.integers(4, 35)))
    return f"{' '.join(words).capitalize()} {number}."
