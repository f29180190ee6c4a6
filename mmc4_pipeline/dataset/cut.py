"""Makes the dataset's documents of one scored shard: applies filters, assigns images, applies document rules."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from filters.base import AssignedDocument, DeclarationFilter, DocumentFilter, PageFilter
from mmc4_pipeline.apply_filters import Candidate, apply_filters, first_drop
from mmc4_pipeline.assignment import Assignment, assign, before_each, sentence_after
from mmc4_pipeline.cut_document import CutDocument, Placed
from mmc4_pipeline.dataset.weighing import check_rows, weighted, without_scores
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.inert_text import inert
from mmc4_pipeline.recipe import Recipe
from schemas.columns import CLIP_COLUMNS, Column, LedgerColumn, Shape, ledger_columns
from schemas.image import Image
from schemas.ledger import LedgerRow, ledger_record
from schemas.page import ImageLink, Page
from schemas.reasons import Drop, Reason, Stage
from schemas.score import DocumentScores, ImageScore


def cut_shard(
    pages: Sequence[Page],
    images: Sequence[Image],
    scores: Sequence[DocumentScores],
    recipe: Recipe,
    columns: Sequence[Column] = CLIP_COLUMNS,
) -> Iterator[CutDocument]:
    """Yield the documents of a shard in the order of its pages; `columns` are those of the scores.

    Raises UserError if scores and images do not match.
    """
    images_of: dict[str, list[Image]] = {}
    for image in images:
        images_of.setdefault(image.key, []).append(image)
    scores_of = {document.key: document for document in scores}
    for page in pages:
        scored = scores_of.get(page.key)
        yield _cut(page, images_of.get(page.key, []), scored.images if scored else [], recipe, columns)


def _cut(
    page: Page, images: Sequence[Image], scores: Sequence[ImageScore], recipe: Recipe, columns: Sequence[Column]
) -> CutDocument:
    image_at = {image.position: image for image in images}
    score_at = {score.position: score for score in scores}
    dropped = {link.position: (Stage.PAGES, Drop(link.reason, link.filter)) for link in page.links if link.reason}
    dropped |= {image.position: (Stage.IMAGES, Drop(image.reason, image.filter)) for image in images if image.reason}
    dropped |= {score.position: (Stage.SCORE, Drop(score.reason)) for score in scores if score.reason}
    links = [link for link in page.links if link.position not in dropped]
    candidates = [_candidate(page, link, image_at, score_at, recipe.assignment) for link in links]
    drops = [
        drop or _without_place(link, recipe.assignment) or without_scores(score_at[link.position], recipe.assignment)
        for link, drop in zip(links, apply_filters(candidates, recipe.filters, {}), strict=True)
    ]
    dropped |= {link.position: (Stage.CUT, drop) for link, drop in zip(links, drops, strict=True) if drop}
    kept = [candidate for candidate, drop in zip(candidates, drops, strict=True) if drop is None]
    placed = _place(kept, recipe.assignment, columns)
    of_document = _judge_document(page, placed, recipe)
    if of_document is not None:
        dropped |= {item.image.position: (Stage.CUT, of_document) for item in placed}
        placed = []
    declarations = {
        position: declaration
        for position, (_, drop) in dropped.items()
        if (declaration := _declaration(recipe, drop, page, image_at.get(position))) is not None
    }
    reason = of_document.reason if of_document else None
    return CutDocument(_with_inert_text(page), placed, dropped, image_at, score_at, reason, declarations)


def _with_inert_text(page: Page) -> Page:
    sentences = list(map(inert, page.sentences))
    return page if sentences == page.sentences else replace(page, sentences=sentences)


def _without_place(link: ImageLink, assignment: Assignment) -> Drop | None:
    """Return the drop of an image that can't be in page order: any place for it would be a guess."""
    return Drop(Reason.NO_PLACE) if assignment.method == "page" and link.after_sentence is None else None


def _declaration(recipe: Recipe, drop: Drop, page: Page, image: Image | None) -> str | None:
    """Return the declaration for which a link was dropped; None if another filter dropped it."""
    match recipe.filters.get(drop.filter or ""):
        case PageFilter() as item:
            return item.refusal(page.declarations)
        case DeclarationFilter() as item if image is not None:
            return item.refusal(item.declarations_of(image))
    return None


def _candidate(
    page: Page, link: ImageLink, images: dict[int, Image], scores: dict[int, ImageScore], assignment: Assignment
) -> Candidate:
    if link.position not in images or link.position not in scores:
        raise UserError(f"{link.url} on {page.url}: kept but not scored; run `mmc4 score` again into another --output")
    score = scores[link.position]
    check_rows(score, assignment, len(page.sentences), f"{link.url} on {page.url}")
    return Candidate(images[link.position], link, score, page.url, page.declarations)


def _place(candidates: Sequence[Candidate], assignment: Assignment, columns: Sequence[Column]) -> list[Placed]:
    scored = [
        (each.image, each.score, each.link)
        for each in candidates
        if each.image is not None and each.link is not None and each.score is not None
    ]
    if not scored:
        return []
    similarity = np.array([score.similarity for _, score, _ in scored], dtype=np.float32)
    gaps = [_gap(link) for _, _, link in scored]
    by = weighted([score for _, score, _ in scored], assignment, columns)
    matched = assign(by, assignment, gaps, [link.published_sentence for _, _, link in scored]).tolist()
    before = before_each(matched, assignment, gaps, similarity.shape[1])
    placed = [
        Placed(image, score, sentence, float(similarity[row, sentence]), before[row])
        for row, ((image, score, _), sentence) in enumerate(zip(scored, matched, strict=True))
    ]
    return sorted(placed, key=lambda item: item.before)


def _gap(link: ImageLink) -> int | None:
    """Return how many sentences stand before an image on its page, None if its place is not known."""
    return None if link.after_sentence is None else link.after_sentence + 1


def _judge_document(page: Page, placed: Sequence[Placed], recipe: Recipe) -> Drop | None:
    if page.taken_down:
        return Drop(Reason.DENIED)
    after = {link.position: link.after_sentence for link in page.links}
    document = AssignedDocument(
        len(page.sentences),
        [item.similarity for item in placed],
        page.words,
        [after[item.image.position] for item in placed],
    )
    return first_drop((key, item.decide(document)) for key, item in recipe.of_kind(DocumentFilter).items())


def ledger_rows(
    document: CutDocument, shard: str | None, columns: tuple[Column, ...] = CLIP_COLUMNS
) -> Iterator[LedgerRow]:
    """Yield the ledger's row for each image link of the document's page.

    `shard` is the file of its kept images, `columns` are those of the scores.
    """
    record, of_scores = ledger_record(columns), ledger_columns(columns)
    placed = {item.image.position: item for item in document.placed}
    words = document.page.words
    for link in document.page.links:
        image = document.images.get(link.position) or Image(document.page.key, link.position, link.url)
        score = document.scores.get(link.position) or ImageScore(link.position, {})
        item = placed.get(link.position)
        stage, drop = document.dropped.get(link.position, (None, None))
        yield record(
            page_url=document.page.url,
            image_url=image.url,  # a hash if the image was denied by its content
            position=link.position,
            document=document.page.key,
            route=image.route,
            http_status=image.http_status,
            error=image.error,
            sha256=image.sha256,
            byte_size=image.byte_size,
            stored_bytes=image.length,
            width=image.width,
            height=image.height,
            phash=image.phash,
            **{column.name: _in_ledger(column, score, item) for column in of_scores},
            sentence=item.sentence if item else None,
            sentences=len(document.page.sentences) or None,
            words=words or None,
            after_sentence=link.after_sentence,
            inside_text=link.inside_text,
            best_sentence=_most_similar(score.similarity),
            page_similarity=_at(score.similarity, _page_sentence(link, len(score.similarity))),
            published_sentence=link.published_sentence,
            published_similarity=link.published_similarity,
            remeasured_similarity=_at(score.similarity, link.published_sentence),
            stage=stage,
            reason=drop.reason if drop else None,
            filter=drop.filter if drop else None,
            declaration=document.declarations.get(link.position),
            shard=shard if item else None,
            key=document.page.key if item else None,
        )


def _at(similarities: Sequence[float], sentence: int | None) -> float | None:
    return None if sentence is None or not similarities else similarities[sentence]


def _most_similar(similarities: Sequence[float]) -> int | None:
    return similarities.index(max(similarities)) if similarities else None


def _in_ledger(column: LedgerColumn, score: ImageScore, placed: Placed | None) -> float | str | None:
    name = column.column.name
    if column.is_matched:
        return score.at(name, placed.sentence) if placed else None
    return score.values.get(name) if column.column.shape is Shape.TEXT else score.number(name)


def _page_sentence(link: ImageLink, sentences: int) -> int | None:
    """Return the sentence that page order gives to an image, None if its place is not known."""
    gap = _gap(link)
    return None if gap is None else sentence_after(gap, sentences)
