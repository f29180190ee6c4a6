"""Cuts a dataset out of one scored shard: the recipe's filters once more, then the assignment, then document rules."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from filters.base import AssignedDocument, DocumentFilter
from mmc4_pipeline.apply_filters import Candidate, apply_filters
from mmc4_pipeline.assignment import Assignment, assign
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.recipe import Recipe
from schemas.image import Image
from schemas.ledger import LedgerRow
from schemas.page import ImageLink, Page
from schemas.reasons import Reason, Stage
from schemas.score import DocumentScores, ImageScore


@dataclass(frozen=True, slots=True)
class Placed:
    """A kept image, the sentence that it was assigned to, and how similar the two are."""

    image: Image
    score: ImageScore
    sentence: int
    similarity: float


@dataclass(frozen=True, slots=True)
class CutDocument:
    """A document after the cut. `placed` is empty and `reason` set where the document did not make it.

    `placed` is in reading order (images at the same sentence as on the page): OpenFlamingo's loader takes the first
    image for the first mark in the text. MMC4's own shards have them in page order.
    `dropped` has, by link position, the stage and reason of each image link that is not placed.
    """

    page: Page
    placed: list[Placed]
    dropped: dict[int, tuple[Stage, Reason]]
    images: dict[int, Image]
    scores: dict[int, ImageScore]
    reason: Reason | None

    def cut_reasons(self) -> Iterator[Reason | None]:
        """Yield for each image that came scored into the cut stage the reason that it gave, or None."""
        for stage, reason in self.dropped.values():
            if stage is Stage.CUT:
                yield reason
        yield from (None for _ in self.placed)


def cut_shard(
    pages: Sequence[Page], images: Sequence[Image], scores: Sequence[DocumentScores], recipe: Recipe
) -> Iterator[CutDocument]:
    """Cut the documents of a shard, in the pages' order. Raises UserError where the scores are of other images."""
    images_of: dict[str, list[Image]] = {}
    for image in images:
        images_of.setdefault(image.key, []).append(image)
    scores_of = {document.key: document for document in scores}
    for page in pages:
        scored = scores_of.get(page.key)
        yield _cut(page, images_of.get(page.key, []), scored.images if scored else [], recipe)


def _cut(page: Page, images: Sequence[Image], scores: Sequence[ImageScore], recipe: Recipe) -> CutDocument:
    image_at = {image.position: image for image in images}
    score_at = {score.position: score for score in scores}
    dropped = {link.position: (Stage.PAGES, link.reason) for link in page.links if link.reason is not None}
    dropped |= {image.position: (Stage.IMAGES, image.reason) for image in images if image.reason is not None}
    dropped |= {score.position: (Stage.SCORE, score.reason) for score in scores if score.reason is not None}
    candidates = [_candidate(page, link, image_at, score_at) for link in page.links if link.position not in dropped]
    reasons = apply_filters(candidates, recipe.filters, {})
    dropped |= {
        candidate.image.position: (Stage.CUT, reason)
        for candidate, reason in zip(candidates, reasons, strict=True)
        if reason is not None
    }
    kept = [candidate for candidate, reason in zip(candidates, reasons, strict=True) if reason is None]
    placed = _place(kept, recipe.assignment)
    reason = _judge_document(page, placed, recipe)
    if reason is not None:
        dropped |= {item.image.position: (Stage.CUT, reason) for item in placed}
        placed = []
    return CutDocument(page, placed, dropped, image_at, score_at, reason)


def _candidate(page: Page, link: ImageLink, images: dict[int, Image], scores: dict[int, ImageScore]) -> Candidate:
    if link.position not in images or link.position not in scores:
        message = (
            f"{link.url} on {page.url}: not scored, although it was kept; run `mmc4 score` again into another --output"
        )
        raise UserError(message)
    score = scores[link.position]
    if len(score.similarity) != len(page.sentences) or not all(map(math.isfinite, score.similarity)):
        message = (
            f"{link.url} on {page.url}: its scores are no {len(page.sentences)} numbers, one a sentence; "
            "run `mmc4 score` again into another --output"
        )
        raise UserError(message)
    return Candidate(images[link.position], link, score, page.url)


def _place(candidates: Sequence[Candidate], assignment: Assignment) -> list[Placed]:
    scored = [(candidate.image, candidate.score) for candidate in candidates if candidate.score is not None]
    if not scored:
        return []
    similarity = np.array([score.similarity for _, score in scored], dtype=np.float32)
    matched = assign(similarity, assignment)
    placed = [
        Placed(image, score, int(sentence), float(similarity[row, sentence]))
        for row, ((image, score), sentence) in enumerate(zip(scored, matched, strict=True))
    ]
    return sorted(placed, key=lambda item: item.sentence)


def _judge_document(page: Page, placed: Sequence[Placed], recipe: Recipe) -> Reason | None:
    if page.taken_down:
        return Reason.DENIED
    document = AssignedDocument(len(page.sentences), [item.similarity for item in placed])
    return next((reason for item in recipe.of_kind(DocumentFilter).values() if (reason := item.decide(document))), None)


def ledger_rows(document: CutDocument, shard: str | None) -> Iterator[LedgerRow]:
    """Yield the ledger's row for each image link of the document's page; `shard` is the file that holds it if kept."""
    placed = {item.image.position: item for item in document.placed}
    for link in document.page.links:
        image = document.images.get(link.position) or Image(document.page.key, link.position, link.url)
        score = document.scores.get(link.position) or ImageScore(link.position, [])
        item = placed.get(link.position)
        stage, reason = document.dropped.get(link.position, (None, None))
        yield LedgerRow(
            page_url=document.page.url,
            image_url=link.url,
            position=link.position,
            document=document.page.key,
            route=image.route,
            http_status=image.http_status,
            error=image.error,
            sha256=image.sha256,
            byte_size=image.byte_size,
            width=image.width,
            height=image.height,
            phash=image.phash,
            nsfw=score.nsfw,
            face=score.face,
            best_similarity=max(score.similarity, default=None),
            matched_similarity=item.similarity if item else None,
            sentence=item.sentence if item else None,
            stage=stage,
            reason=reason,
            shard=shard if item else None,
            key=document.page.key if item else None,
        )
