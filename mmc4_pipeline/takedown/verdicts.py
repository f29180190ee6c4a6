"""Decides by a shard's ledger what a deny-list removes from the documents of a dataset.

The ledger has the URL of every link and page. The remaining images keep the sentences that they were assigned to, and
the rest of a document must still satisfy the recipe's document rules.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from typing import Any

from filters.base import AssignedDocument, DocumentFilter
from filters.deny_list import LoadedDenyList
from mmc4_pipeline.apply_filters import first_drop
from schemas.columns import SIMILARITY, matched
from schemas.ledger import LedgerRow
from schemas.page import hashed, is_hashed
from schemas.reasons import DENIED, Drop, Stage


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one document: its rows before and after the takedown.

    `denied`: the deny-list names its page. `drop` is set if too few of its images remain for the document rules.
    """

    page_url: str
    denied: bool
    drop: Drop | None
    before: list[LedgerRow]
    after: list[LedgerRow]

    @property
    def kept(self) -> list[LedgerRow]:
        """Return the former rows of the images that the dataset had."""
        return [row for row in self.before if row.reason is None]

    @property
    def remaining(self) -> list[LedgerRow]:
        """Return the rows of the images that remain in the dataset."""
        return [row for row in self.after if row.reason is None]

    @property
    def removed(self) -> bool:
        """Return whether the whole document is removed."""
        return self.denied or self.drop is not None

    @property
    def removed_from_dataset(self) -> bool:
        """Return whether the dataset had the document with images, and loses it."""
        return bool(self.kept) and self.removed

    @property
    def changed(self) -> bool:
        """Return whether images are removed, so that the document's shard must be rewritten."""
        return len(self.remaining) != len(self.kept)


def verdicts_of(rows: Sequence[LedgerRow], deny: LoadedDenyList, rules: Mapping[str, DocumentFilter]) -> list[Verdict]:
    """Decide on each document of a ledger."""
    return [_verdict(list(group), deny, rules) for _, group in groupby(rows, key=lambda row: row.document)]


def _verdict(rows: list[LedgerRow], deny: LoadedDenyList, rules: Mapping[str, DocumentFilter]) -> Verdict:
    url = rows[0].page_url
    denied = deny.denies(url)
    removed = [denied or deny.denies(row.image_url) for row in rows]
    kept = [row for row in rows if row.reason is None]
    remaining = [row for row, gone in zip(rows, removed, strict=True) if row.reason is None and not gone]
    drop = None
    if len(remaining) < len(kept) and not denied:
        document = AssignedDocument(
            rows[0].sentences or 0,
            [getattr(row, matched(SIMILARITY)) or 0.0 for row in remaining],
            rows[0].words or 0,
            [row.after_sentence for row in remaining],
        )
        drop = first_drop((name, rule.decide(document)) for name, rule in rules.items())
    after = []
    for row, gone in zip(rows, removed, strict=True):
        if gone:
            after.append(_denied_row(row, hashed(url) if denied else url))
        else:
            after.append(_dropped_row(row, drop) if drop and row.reason is None else row)
    return Verdict(url, denied, drop, rows, after)


def _denied_row(row: LedgerRow, page_url: str) -> LedgerRow:
    """Return the row that the link would have had if it had been denied from the start, with hashes of its URLs."""
    return type(row)(
        page_url,
        hashed(row.image_url),
        row.position,
        row.document,
        sentences=None if is_hashed(page_url) else row.sentences,
        words=None if is_hashed(page_url) else row.words,
        stage=Stage.PAGES,
        reason=DENIED.reason,
        filter=DENIED.filter,
    )


def _dropped_row(row: LedgerRow, drop: Drop) -> LedgerRow:
    """Return the row of an image that is dropped with the rest of its document."""
    of_sentence: dict[str, Any] = {item.name: None for item in fields(row) if item.name.startswith(matched(""))}
    place: dict[str, Any] = {**of_sentence, "sentence": None, "shard": None, "key": None}
    return replace(row, stage=Stage.CUT, reason=drop.reason, filter=drop.filter, **place)
