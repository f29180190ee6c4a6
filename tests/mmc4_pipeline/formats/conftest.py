from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.dataset.cut import cut_shard
from mmc4_pipeline.dataset.write_shards import write_shard
from mmc4_pipeline.formats.base import Format
from mmc4_pipeline.recipe import load_recipe
from mmc4_pipeline.stage_folder import StageFolder
from schemas.image import Image
from schemas.page import ImageLink
from schemas.reasons import Stage
from schemas.score import DocumentScores, ImageScore
from tests.mmc4_pipeline.formats.pictures import jpeg
from tests.pages import new_page

# The similarities of each document, one row per image. The images of the second are below every recipe's minimum. The
# third has more images than sentences, so that two share one. The fourth's second image belongs before its first.
PLANTED = [
    [[0.1, 0.4, 0.2, 0.1], [0.3, 0.1, 0.1, 0.25]],
    [[0.1, 0.1], [0.0, 0.1]],
    [[0.5, 0.1], [0.4, 0.123456789], [0.3, 0.45]],
    [[0.1, 0.2, 0.6], [0.7, 0.1, 0.1]],
]


@pytest.fixture(scope="session")
def documents() -> list[CutDocument]:
    """Return documents as the cut stage decided on them, the second one dropped."""
    pages, images, scores = [], [], []
    for item, similarity in enumerate(PLANTED):
        key = f"{item:032x}"
        texts = ['Größe "zählt".', "Two\nlines.", "日本。", "</script>\u2028."][: len(similarity[0])]
        links = [
            ImageLink(at, f"https://a.example/{item}/{at}.jpg", "An alt." * at, 320 if at else None, None)
            for at in range(len(similarity))
        ]
        pages.append(new_page(key, texts, links, url=f"https://a.example/{item}", could_have_url_duplicate=item == 2))
        images += [
            Image(
                key,
                link.position,
                link.url,
                sha256=f"{item}{link.position}",
                format="PNG",
                width=300,
                height=200,
                face_detections=[None, [[1.0, 2.5, 30.0, 40.0, 0.97]], []][link.position],
            )
            for link in links
        ]
        scores.append(
            DocumentScores(key, [ImageScore(at, {"similarity": row, "nsfw": 0.0}) for at, row in enumerate(similarity)])
        )
    return list(cut_shard(pages, images, scores, load_recipe("mmc4")))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write documents as shard 7 of a dataset and return the file's path."""

    def write(item: Format, documents: list[CutDocument], name: str = "dataset") -> Path:
        folder = StageFolder(str(tmp_path / name), Stage.CUT)
        kept = [document for document in documents if document.reason is None]
        (file,) = write_shard(folder, [item], 7, 8, kept, jpeg)
        path = tmp_path / name / file.name
        assert path.stat().st_size == file.bytes
        return path

    return write


@pytest.fixture
def read() -> Callable[[Format, Path], list[dict[str, Any]]]:
    """Read a shard with the format's own reader."""

    def documents_of(item: Format, path: Path) -> Iterator[dict[str, Any]]:
        with path.open("rb") as stream:
            yield from item.read_shard(stream, str(path))

    return lambda item, path: list(documents_of(item, path))


@pytest.fixture(scope="session")
def in_page_order(documents: list[CutDocument]) -> list[CutDocument]:
    """Return kept documents whose images stand where the page has them: some in a row, some after the last sentence."""
    found = []
    for document, places in ((documents[0], (2, 4)), (documents[2], (0, 2, 2)), (documents[3], (1, 1))):
        last = len(document.page.sentences) - 1
        by_position = sorted(document.placed, key=lambda item: item.image.position)
        placed = [
            replace(item, before=place, sentence=min(place, last), similarity=item.score.similarity[min(place, last)])
            for item, place in zip(by_position, places, strict=True)
        ]
        found.append(replace(document, placed=placed))
    return found
