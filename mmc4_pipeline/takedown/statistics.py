"""A shard's statistics after a takedown: what went is subtracted, so that nothing else has to be read again.

Only tables are counted anew, from the ledger (sites) and the images that are left (duplicates).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmc4_pipeline.dataset.statistics import DUPLICATE, bin_of, count_duplicates
from mmc4_pipeline.naming import site_of
from mmc4_pipeline.takedown.stages import Facts
from schemas.image import Image
from schemas.ledger import LedgerRow
from schemas.page import is_hashed
from schemas.reasons import Stage
from schemas.statistics import BYTES_BIN, SHARE_BINS, SIDE_BIN, SIMILARITY_BINS, Statistics
from schemas.tables import MAX_URL, DuplicateGroups, Site, Sites

Json = dict[str, Any]
_OF_SENTENCES, _OF_STORED = ("sentences", "share_illustrated"), ("stored_bytes",)


@dataclass(frozen=True, slots=True)
class Change:
    """A document that something went from: the rows of its images as they were and are, None if all of it went."""

    before: Sequence[LedgerRow]
    after: Sequence[LedgerRow] | None
    facts: Facts


def statistics_after(
    old: Json,
    rows: Sequence[LedgerRow],
    after: Sequence[LedgerRow],
    newly: Sequence[LedgerRow],
    changes: Sequence[Change],
    images: Sequence[Image] | None,
    shard: int,
) -> Json:
    """Give a shard's statistics after a takedown.

    `rows` and `after` are its ledger as it was and is, `newly` the rows, as they were, of links that are denied now;
    `images` those left in the images stage, None where that is gone. A histogram that would need what nobody knows any
    more is left out, as one that an earlier version did not count.
    """
    statistics, less, more = Statistics.from_json(old), Statistics(), Statistics()
    _count_measured(newly, less)
    unknown: set[str] = set()
    for change in changes:
        unknown |= _count_kept(change.before, change.facts, less)
        if change.after is not None:
            unknown |= _count_kept(change.after, change.facts, more)
    for name, histogram in _histograms(statistics).items():
        histogram.update(_histograms(more)[name])
        histogram.subtract(_histograms(less)[name])
        if min(histogram.values(), default=0) < 0 and name not in unknown:
            message = f"statistics of shard {shard}: {name} was counted from other images than the ledger has"
            raise ArithmeticError(message)
        setattr(statistics, name, +histogram)
    statistics.sites = _sites_after(statistics.sites, rows, after)
    statistics.duplicates = (
        _duplicates_of(images, shard) if images is not None else _less_duplicates(statistics.duplicates, newly, after)
    )
    return {name: value for name, value in statistics.to_json().items() if name in old and name not in unknown}


def _histograms(statistics: Statistics) -> dict[str, Counter[int]]:
    return {name: getattr(statistics, name) for name in Statistics.__slots__ if name not in ("sites", "duplicates")}


def _count_measured(rows: Iterable[LedgerRow], result: Statistics) -> None:
    for row in rows:
        if row.width is not None and row.height is not None:
            result.decoded_short_side[min(row.width, row.height) // SIDE_BIN] += 1
        for name in ("best_similarity", "nsfw", "face"):
            value = getattr(row, name)
            if value is not None:
                getattr(result, name)[bin_of(value, SIMILARITY_BINS)] += 1


def _count_kept(rows: Sequence[LedgerRow], facts: Facts, result: Statistics) -> set[str]:
    """Count a kept document as the cut does; give the names of what can't be counted."""
    unknown: set[str] = set()
    result.images[len(rows)] += 1
    if facts.sentences:
        result.sentences[facts.sentences] += 1
        illustrated = len({row.sentence for row in rows})
        result.share_illustrated[min(illustrated * SHARE_BINS // facts.sentences, SHARE_BINS - 1)] += 1
    else:
        unknown.update(_OF_SENTENCES)
    for row in rows:
        if row.matched_similarity is not None:
            result.matched_similarity[bin_of(row.matched_similarity, SIMILARITY_BINS)] += 1
        if row.width is not None and row.height is not None:
            result.short_side[min(row.width, row.height) // SIDE_BIN] += 1
        if facts.stored is not None and row.position in facts.stored:
            result.stored_bytes[facts.stored[row.position] // BYTES_BIN] += 1
        else:
            unknown.update(_OF_STORED)
    return unknown


def _sites_after(old: Sites, rows: Sequence[LedgerRow], after: Sequence[LedgerRow]) -> Sites:
    """Count the sites of which something went anew, and those that were not among the largest: they may be now."""
    names = {url: site_of(url) for url in {row.page_url for row in rows}}
    changed = {names[before.page_url] for before, row in zip(rows, after, strict=True) if before != row}
    left = {names[row.page_url] for row in after if not is_hashed(row.page_url)}
    result = Sites(old.count - len(changed - left), {name: old.top[name] for name in old.top if name not in changed})
    anew = {name: Site() for name in left if name not in result.top}
    documents: dict[str, set[str]] = {name: set() for name in anew}
    for row in after:
        if is_hashed(row.page_url) or (name := names[row.page_url]) not in anew:
            continue
        site = anew[name]
        site.links += 1
        site.wanted += row.stage is not Stage.PAGES
        if row.reason is None:
            site.kept += 1
            documents[name].add(row.document)
        else:
            site.dropped[row.reason] += 1
    for name, site in anew.items():
        site.documents = len(documents[name])
    result.top |= anew
    result.bound()
    return result


def _duplicates_of(images: Sequence[Image], shard: int) -> DuplicateGroups:
    groups = DuplicateGroups()
    count_duplicates(((image, image.reason) for image in images if image.reason), shard, groups)
    groups.bound()
    return groups


def _less_duplicates(
    groups: DuplicateGroups, newly: Sequence[LedgerRow], after: Sequence[LedgerRow]
) -> DuplicateGroups:
    """Take denied images out of the groups. Where one was the example, another one stands for it, without its place."""
    gone = Counter((row.reason, row.phash) for row in newly if row.reason in DUPLICATE)
    urls = {row.image_url[:MAX_URL] for row in newly}
    others = {(row.reason, row.phash): row.image_url for row in reversed(after) if row.reason in DUPLICATE}
    result = DuplicateGroups()
    for group in groups.top.values():
        left = replace(group, count=group.count - gone[group.reason, group.phash])
        if group.url in urls:
            other = others.get((group.reason, group.phash), "")[:MAX_URL]
            left = replace(left, url=other, offset=0, length=0)
        if left.count > 0 and left.url:
            result.add(left)
    result.bound()
    return result
