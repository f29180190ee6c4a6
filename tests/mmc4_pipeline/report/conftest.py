from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from mmc4_pipeline import storage
from mmc4_pipeline.cut_document import CutDocument, Placed
from mmc4_pipeline.dataset.cut import ledger_rows
from mmc4_pipeline.dataset.statistics import statistics_of_documents
from mmc4_pipeline.dataset.write_shards import write_shard
from mmc4_pipeline.formats.openflamingo import OpenFlamingo
from mmc4_pipeline.naming import site_of
from mmc4_pipeline.stage_folder import StageFolder
from schemas.image import Image
from schemas.ledger import LedgerRow
from schemas.manifest import CutPlan, Manifest, ShardNote
from schemas.page import ImageLink
from schemas.reasons import Drop, Reason, Stage
from schemas.score import ImageScore
from schemas.statistics import Counts
from tests.mmc4_pipeline.planted_plans import cut_plan
from tests.pages import new_page

BEFORE = {
    Stage.LOCATE: {"documents": Counts(9, 8, Counter(not_located=1))},
    Stage.PAGES: {
        "documents": Counts(8, 8),
        "links": Counts(100, 60, Counter(url_token=10, url_extension=30)),
    },
    Stage.IMAGES: {"links": Counts(60, 20, Counter(http_error=20, corrupt=10, too_small=10))},
    Stage.SCORE: {"links": Counts(20, 20)},
}
RECIPE = {
    "crawl": "CC-MAIN-2019-18",
    "links": {"attributes": ["src"]},
    "images": {"max_side": 800, "jpeg_quality": 90},
    "filters": {"similarity": {"min": 0.15}, "document": {"min_images": 1, "max_images": None, "share_above": None}},
    "assignment": "hungarian",
}


@pytest.fixture(scope="session")
def make_document() -> Callable[..., CutDocument]:
    """Make a document that has one image for each given similarity, at the sentence of its number."""

    def make(
        key: str,
        similarities: list[float],
        *,
        sentences: list[str] | None = None,
        url: str = "https://www.news.example/1",
        image_url: str = "https://news.example/a.jpg",
        size: tuple[int, int] = (400, 300),
        reason: Reason | None = None,
        heads: tuple[float | None, float | None] = (None, None),
        places: list[int | None] | None = None,
    ) -> CutDocument:
        sentences = sentences or [f"Sentence {number} of {key}." for number in range(len(similarities) + 2)]
        after = places or [None] * len(similarities)
        links = [ImageLink(at, image_url, "", None, None, after_sentence=after[at]) for at in range(len(similarities))]
        page = new_page(key, sentences, links, url=url, site=site_of(url))
        placed = []
        for position, similarity in enumerate(similarities):
            row = [similarity if number == position else -0.5 for number in range(len(sentences))]
            image = Image(key, position, image_url, width=size[0], height=size[1], length=25_000)
            score = ImageScore(position, {"similarity": row, "nsfw": heads[0], "face": heads[1]})
            placed.append(Placed(image, score, position, similarity, before=position))
        images, scores = ({item.image.position: part(item) for item in placed} for part in (_image, _score))
        dropped = {} if reason is None else {item.image.position: (Stage.CUT, Drop(reason)) for item in placed}
        return CutDocument(page, placed if reason is None else [], dropped, images, scores, reason)

    return make


def _image(item: Placed) -> Image:
    return item.image


def _score(item: Placed) -> ImageScore:
    return item.score


def jpeg() -> bytes:
    """Return a JPEG of 640 x 400 pixels."""
    gradient = np.linspace(0, 255, 640 * 400 * 3).reshape(400, 640, 3).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", gradient)[1])


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., StageFolder]:
    """Make a finished dataset of shards of documents, as the cut stage does."""

    def make(*shards: list[CutDocument], image: bytes | None = None) -> StageFolder:
        folder = StageFolder(str(tmp_path / "out" / "dataset" / "planted"), Stage.CUT)
        folder.begin(cut_plan(len(shards), recipe=RECIPE, before=BEFORE), resume=False)
        body = image if image is not None else jpeg()
        for number, documents in enumerate(shards):
            kept = [document for document in documents if document.reason is None]
            files = write_shard(folder, [OpenFlamingo()], number, len(shards), kept, lambda _: body)
            rows = (row for document in documents for row in ledger_rows(document, "shard"))
            ledger = storage.write_records(folder.shard_file("ledger/ledger", number, len(shards)), rows, LedgerRow)
            files.append(msgspec.structs.replace(ledger, name=f"ledger/{ledger.name}"))
            counts = {"documents": Counts(seen=len(documents)), "links": Counts()}
            counts["documents"].decide(document.reason for document in documents)
            counts["links"].decide(reason for document in documents for reason in document.cut_reasons())
            counts["links"].seen = counts["links"].kept + counts["links"].dropped.total()
            statistics = statistics_of_documents(documents, number).to_json()
            folder.finish_shard(
                ShardNote(
                    shard=number,
                    files=files,
                    counts=counts,
                    documents_in_shard={number: len(kept)},
                    statistics=statistics,
                )
            )
        folder.finish()
        return folder

    return make


@pytest.fixture
def manifest() -> Manifest[CutPlan]:
    """Return a made-up manifest whose numbers add up."""
    counts = {
        "documents": Counts(8, 5, Counter(document=3)),
        "links": Counts(20, 12, Counter(low_similarity=6, document=2)),
    }
    return Manifest(plan=cut_plan(0, recipe=RECIPE, before=BEFORE), versions={}, counts=counts, files=[])
