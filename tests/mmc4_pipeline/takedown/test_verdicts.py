"""Verdicts on documents from which images are removed, under any document filter, and the counts that follow."""

from collections import Counter
from dataclasses import dataclass, replace

import pytest

from filters.base import AssignedDocument, DocumentFilter
from filters.deny_list import DenyList
from filters.image_text_ratio import ImageTextRatio
from filters.images_in_a_row import ImagesInARow
from mmc4_pipeline.takedown.counts import counts_of_shard
from mmc4_pipeline.takedown.verdicts import Verdict, verdicts_of
from schemas.columns import CLIP_COLUMNS
from schemas.ledger import LedgerRow, ledger_record
from schemas.reasons import Drop, Stage
from schemas.statistics import Counts


@dataclass(frozen=True)
class ImagesPerSentence(DocumentFilter):
    """A document filter of a user's own: it sees images and sentences, and has a reason of its own."""

    minimum: float
    reason = "few_images"

    def decide(self, document: AssignedDocument, /) -> str | None:
        return self.reason if len(document.matched) < self.minimum * document.sentences else None


def row(document: str, position: int, *, stage: Stage | None = None, reason: str | None = None) -> LedgerRow:
    page, kept = f"https://{document}.example/", reason is None
    return ledger_record(CLIP_COLUMNS)(
        page,
        f"{page}{position}.jpg",
        position,
        document,
        matched_similarity=0.3 if kept else None,
        sentence=position if kept else None,
        sentences=4,
        stage=stage,
        reason=reason,
        shard="shard-00000.tar" if kept else None,
        key=document if kept else None,
    )


ROWS = [row("a", 0), row("a", 1), row("b", 0), row("b", 1), row("c", 0, stage=Stage.CUT, reason="nsfw"), row("d", 0)]


def test_filters_of_places_and_words_see_what_remains() -> None:
    rows = [
        replace(item, words=20, after_sentence=after) for item, after in zip(ROWS[:2] * 2, (0, 0, 0, 1), strict=True)
    ]
    rows = [replace(item, position=at, image_url=f"https://a.example/{at}.jpg") for at, item in enumerate(rows)]
    deny = DenyList("list.txt").load(lambda _: b"https://a.example/3.jpg")
    rules = {"ratio": ImageTextRatio(min=0.1), "row": ImagesInARow(2)}
    (verdict,) = verdicts_of(rows, deny, rules)
    assert verdict.drop == Drop("images_in_a_row", "row")  # three of 20 words remain
    (verdict,) = verdicts_of(rows, deny, {"ratio": ImageTextRatio(min=0.16)})
    assert verdict.drop == Drop("image_text_ratio", "ratio")


def verdicts(removed: str, minimum: float) -> list[Verdict]:
    deny = DenyList("list.txt").load(lambda _: removed.encode())
    return verdicts_of(ROWS, deny, {"images_per_sentence": ImagesPerSentence(minimum)})


@pytest.mark.parametrize(("minimum", "drop"), [(0.25, None), (0.5, Drop("few_images", "images_per_sentence"))])
def test_a_document_with_fewer_images_must_still_satisfy_every_document_filter(
    minimum: float, drop: Drop | None
) -> None:
    changed, *others = verdicts("https://a.example/0.jpg", minimum)
    assert (changed.drop, changed.removed) == (drop, drop is not None)
    kept = [row.position for row in changed.remaining]
    assert kept == ([] if drop else [1])
    assert all(verdict.before == verdict.after and not verdict.changed for verdict in others)


def test_counts_have_the_reason_of_the_filter() -> None:
    before = {"documents": Counts(4, 3), "links": Counts(6, 5)}
    before["documents"].dropped["document"] = before["links"].dropped["nsfw"] = 1
    found = verdicts("https://a.example/0.jpg\nhttps://d.example/", 0.5)
    newly = [
        old
        for verdict in found
        for old, new in zip(verdict.before, verdict.after, strict=True)
        if new.filter == "deny_list"
    ]
    counts = counts_of_shard(before, found, newly, denied_documents=1, removed_documents=2)
    assert counts["documents"] == Counts(3, 1, {"document": 1, "few_images": 1})
    assert counts["links"] == Counts(4, 2, {"nsfw": 1, "few_images": 1})
    for what, count in counts.items():
        count.check(what)


@pytest.mark.parametrize(
    ("before", "after"), [({"few_images": 1}, {}), ({"document": 1, "few_images": 1}, {"few_images": 1})]
)
def test_a_denied_document_that_a_filter_had_dropped_is_subtracted(
    before: dict[str, int], after: dict[str, int]
) -> None:
    counts = {"documents": Counts(3 + len(before), 3, Counter(before)), "links": Counts(6, 5, Counter({"nsfw": 1}))}
    found = verdicts("https://c.example/", 0.0)
    (changed,) = (verdict for verdict in found if verdict.denied)
    new = counts_of_shard(counts, found, changed.before, denied_documents=1, removed_documents=0)
    assert new["documents"].to_json() == {"in": 2 + len(before), "kept": 3, "dropped": after}
    new["documents"].check("documents")
